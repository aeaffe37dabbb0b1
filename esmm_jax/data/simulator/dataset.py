"""A simulated click and conversion log, with the truth known on every row.

The fields are those of Ali-CCP (its field numbers stand beside them), the
probabilities and the conversion that each row would have had if clicked stand
in truth columns. With three stages there is a cart between the click and the
conversion, its label and its truth. `funnel_process` says how rows come about.
"""

from collections.abc import Iterator
import functools
from typing import Any

from esmm_jax.data.simulator.config import funnel_config, FunnelConfig, PRESETS
from esmm_jax.data.simulator.log import FunnelLog, HISTORY_LENGTH
from esmm_jax.data.simulator.process import NUM_POSITIONS
from esmm_jax.data.simulator.world import PROFILE_SIZES
from esmm_jax.data.store.columnar import ColumnarBuilder
from esmm_jax.schema import Field, FIRST_KEPT, RARE, Schema
from esmm_jax.tasks import CART_FUNNEL, FUNNEL
from esmm_jax.types import Columns

SHARD_ROWS = 1 << 20
TRUTH = ('p_ctr', 'p_cvr', 'p_cvr_clicked', 'p_ctcvr', 'conversion_if_clicked')
CART_TRUTH = ('p_atr', 'cart_if_clicked')  # With three stages, beside these.


def funnel_schema(config: FunnelConfig) -> Schema:
  """Fields, with vocabulary sizes, tasks and truth columns of a config."""

  def field(name: str, num_values: int, **more: Any) -> Field:
    return Field(name, vocab_size=num_values + FIRST_KEPT, **more)

  return Schema(
      fields=(
          field('user', config.num_users),  # 101
          # 121, 122, 124, 125, 126, 127, 128, 129.
          *(field(name, size) for name, size in PROFILE_SIZES.items()),
          field('item', config.num_items),  # 205
          field('category', config.num_categories),  # 206
          field('shop', config.num_shops),  # 207
          field('brand', config.num_brands),  # 216
          field('position', NUM_POSITIONS),  # 301
          # 508: the item's category where the user met it before.
          field('seen_category', config.num_categories),
          Field('seen_count', 'float'),  # The weight of 508, ln(1 + count).
          field(  # 109_14
              'history',
              config.num_categories,
              kind='ids',
              max_len=HISTORY_LENGTH,
              weighted=True,
              table='category',
          ),
      ),
      tasks=CART_FUNNEL if config.stages == 3 else FUNNEL,
      group='group_user',
      truth=TRUTH + (CART_TRUTH if config.stages == 3 else ()),
  )


class SyntheticFunnel(ColumnarBuilder):
  """The simulated log as a data set; see `FunnelConfig` for its dials.

  Beside the fields and labels of `funnel_schema` a shard holds `group_user`,
  int32, the user's number: the ids of `user` are 1 for all unseen users.
  """

  name = 'synthetic_funnel'
  BUILDER_CONFIGS = list(PRESETS.values())

  @classmethod
  def from_options(
      cls,
      data_dir: str | None = None,
      preset: str = 'default',
      **dials: Any,
  ) -> 'SyntheticFunnel':
    """The data set of a preset with some dials changed.

    Args:
      data_dir: Where prepared data lies; default: as TFDS has it.
      preset: tiny, default, sparse, anti, mnar, cart or large.
      **dials: Attributes of `FunnelConfig`; None keeps the preset's value.

    Raises:
      InputError: There is no such preset or dial, or a value is out of range.
    """
    return cls(data_dir=data_dir, config=funnel_config(preset, **dials))

  def columns(self, start: int, stop: int) -> Columns:
    """Rows [start, stop) made anew; see `FunnelLog.columns`."""
    return self._log.columns(start, stop)

  @functools.cached_property
  def _log(self) -> FunnelLog:
    return FunnelLog(self.builder_config)

  def _num_rows(self) -> int:
    splits = self.builder_config.splits.values()
    return sum(high - low for low, high in splits)

  def _describe(self) -> tuple[Schema, dict[str, str]]:
    texts = dict(
        description=(
            'Simulated impressions, clicks and conversions in the fields of'
            ' Ali-CCP, with the true probabilities and the conversion that'
            ' each impression would have had if clicked.'
        ),
        homepage='https://arxiv.org/abs/1804.07931',
        citation=(
            '@inproceedings{ma2018esmm, title={Entire Space Multi-Task Model:'
            ' An Effective Approach for Estimating Post-Click Conversion'
            ' Rate}, author={Ma, Xiao and others}, booktitle={SIGIR},'
            ' year={2018}}'
        ),
    )
    return funnel_schema(self.builder_config), texts

  def _generate_splits(
      self,
  ) -> tuple[Schema, dict[str, Iterator[Columns]], dict[str, Any]]:
    config = self.builder_config
    log = FunnelLog(config)
    # Training shards come first: what they hold is known to the next splits.
    report = {}
    splits = {
        split: self._shards(log, split, report) for split in config.splits
    }
    return funnel_schema(config), splits, report

  def _shards(
      self, log: FunnelLog, split: str, report: dict[str, Any]
  ) -> Iterator[Columns]:
    """The shards of a split; counts go to the report."""
    low, high = log.config.splits[split]
    counts = dict(rows=0, clicks=0, conversions=0, unseen_users=0)
    counts |= dict(unseen_items=0)
    if log.config.stages == 3:
      counts['carts'] = 0
    report[split] = counts
    for start in range(low, high, SHARD_ROWS):
      columns = log.columns(start, min(start + SHARD_ROWS, high))
      counts['rows'] += len(columns['click'])
      counts['clicks'] += int(columns['click'].sum())
      counts['conversions'] += int(columns['conversion'].sum())
      if 'carts' in counts:
        counts['carts'] += int(columns['cart'].sum())
      counts['unseen_users'] += int((columns['user'] == RARE).sum())
      counts['unseen_items'] += int((columns['item'] == RARE).sum())
      yield columns
