"""Data sets: raw files -> columns on disk -> batches, without JAX.

To add a data set: a `ColumnarBuilder` with a `from_options` class method, and a
line in `DATASETS`.
"""

from collections.abc import MutableMapping
from typing import Any

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
_NAMES = {builder.name for builder in DATASETS.values()}


def _wrong(value: Any) -> str:
  """Returns what is wrong with a data set of a plugin, or ''."""
  if text := subclass_of(ColumnarBuilder)(value):
    return text
  if value.name in _NAMES:  # It names the folder of the prepared data.
    return f"its name is {value.name!r}, that of one of this project's own."
  if not hasattr(value, 'from_options'):
    return 'it has no class method from_options(data_dir, **options).'
  return ''


# Plugins add to it.
DATASETS = Registry('DATASETS', DATASETS, _wrong)
