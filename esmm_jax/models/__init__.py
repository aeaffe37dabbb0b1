"""Architectures: features -> one output for each task.

A model is a Linen module `(table, batch, train) -> {task: float32 [B]}`, a
subclass of `Architecture`. It knows no loss. To add one: a file, and a line in
`MODELS`.
"""

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

MODELS: dict[str, type[Architecture]] = {
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
