"""Data sets: raw files -> columns on disk -> batches, without JAX.

To add a data set: a `ColumnarBuilder` with a `from_options` class method, and a
line in `DATASETS`.
"""

from collections.abc import MutableMapping

from esmm_jax.data.ali_ccp.dataset import AliCcp
from esmm_jax.data.kuairand.dataset import KuaiRand
from esmm_jax.data.simulator.dataset import Simulator
from esmm_jax.data.store.columnar import ColumnarBuilder
from esmm_jax.data.tabular.dataset import Tabular
from esmm_jax.plugins.registry import Registry, subclass_of

DATASETS: MutableMapping[str, type[ColumnarBuilder]] = {
    'ali_ccp': AliCcp,
    'kuairand': KuaiRand,
    'synthetic_funnel': Simulator,
    'tabular': Tabular,
}
# Plugins add to it.
DATASETS = Registry('DATASETS', DATASETS, subclass_of(ColumnarBuilder))
