"""Architectures: features -> one output for each task.

A model is a Linen module `(table, batch, train) -> {task: float32 [B]}`, a
subclass of `Architecture`. It knows no loss. To add one, write a file and a
line in `MODELS`; the conformance tests of tests/models/test_models.py then hold
it.

    adatt             mixes all tasks' experts, own ones as a residual
    aitm              each tower attends to the tower before it
    dbmtl             towers read the hidden layers of their parent tasks
    mmoe              shared experts, one gate for each task
    ple               shared and task experts in levels; CGC is one level
    shared_bottom     one shared network below the towers
    shared_embedding  towers that share the embedding table only (ESMM)
    single_task       one network for each task, the reference of all gains
    stem              an embedding for each task beside a shared one

  >>> sorted(MODELS)[:4]
  ['adatt', 'aitm', 'dbmtl', 'mmoe']
  >>> MODELS['mmoe'].__name__
  'MMoE'
"""

from collections.abc import MutableMapping

from esmm_jax.models.adatt import AdaTT
from esmm_jax.models.aitm import AITM
from esmm_jax.models.architecture import Architecture
from esmm_jax.models.dbmtl import DBMTL
from esmm_jax.models.mmoe import MMoE
from esmm_jax.models.ple import PLE
from esmm_jax.models.shared_bottom import SharedBottom
from esmm_jax.models.shared_embedding import SharedEmbedding
from esmm_jax.models.single_task import SingleTask
from esmm_jax.models.stem import STEM
from esmm_jax.plugins.registry import Registry, subclass_of

MODELS: MutableMapping[str, type[Architecture]] = {
    'adatt': AdaTT,
    'aitm': AITM,
    'dbmtl': DBMTL,
    'mmoe': MMoE,
    'ple': PLE,
    'shared_bottom': SharedBottom,
    'shared_embedding': SharedEmbedding,
    'single_task': SingleTask,
    'stem': STEM,
}
# Plugins add to it.
MODELS = Registry('MODELS', MODELS, subclass_of(Architecture))
