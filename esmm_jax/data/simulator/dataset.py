"""A simulated click and conversion log, with the truth of every row.

The fields are those of Ali-CCP (its field numbers are in the comments). Truth
columns hold the probabilities and the conversion that each row would have had
if clicked. With three stages there is a cart between the click and the
conversion, with its label and its truth. `process` defines the distribution.

With a delay (`delay_mean`) the label `conversion` of a training row is that of
a log taken before all conversions had come: 1 where the conversion was seen. In
validation and test rows it is that of conversions that come at last, and all
metrics of `cvr_clicked` and `ctcvr` are against it, so that a model of the
training labels shows its bias. The truth has both labels of every row,
`conversion_observed` and `conversion_eventually`, the probability of the first
(`p_cvr_observed`; `p_cvr` and `p_cvr_clicked` are of the second), the delay and
the age of the click; `delay` defines them.
"""

from collections.abc import Iterable, Iterator
import functools
import os
from typing import Any

from esmm_jax.data.simulator import delay, shards
from esmm_jax.data.simulator.config import PRESETS, simulator_config
from esmm_jax.data.simulator.config import SimulatorConfig
from esmm_jax.data.simulator.log import HISTORY_LENGTH, SimulatedLog
from esmm_jax.data.simulator.process import NUM_POSITIONS
from esmm_jax.data.simulator.world import PROFILE_SIZES
from esmm_jax.data.store.columnar import ColumnarBuilder
from esmm_jax.data.store.shards import Written
from esmm_jax.engines import choice
from esmm_jax.schema import Field, FIRST_KEPT, Schema
from esmm_jax.tasks import CART_FUNNEL, FUNNEL
from esmm_jax.types import Columns

SHARD_ROWS = 1 << 20
# One process simulates that before another one has started.
ROWS_A_WORKER = 1 << 22
TRUTH = ('p_ctr', 'p_cvr', 'p_cvr_clicked', 'p_ctcvr', 'conversion_if_clicked')
CART_TRUTH = ('p_atr', 'cart_if_clicked')  # With three stages, beside these.


def simulator_schema(config: SimulatorConfig) -> Schema:
  """Builds the schema of a config, vocabulary sizes included."""

  def field(name: str, num_values: int, **more: Any) -> Field:
    return Field(name, vocab_size=num_values + FIRST_KEPT, **more)

  truth = TRUTH
  if config.stages == 3:
    truth += CART_TRUTH
  if config.is_delayed:
    truth += delay.TRUTH
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
      truth=truth,
  )


class Simulator(ColumnarBuilder):
  """The simulated log as a data set; `SimulatorConfig` describes the dials.

  Beside the fields and labels of `simulator_schema` a shard holds `group_user`,
  int32, the user's number: the ids of `user` are 1 for all unseen users, whom
  GAUC must tell apart.
  """

  name = 'synthetic_funnel'
  BUILDER_CONFIGS = list(PRESETS.values())

  @classmethod
  def from_options(
      cls,
      data_dir: str | None = None,
      preset: str = 'default',
      **dials: Any,
  ) -> 'Simulator':
    """Returns the data set of a preset with some dials changed.

    Args:
      data_dir: Folder of prepared data; None: TFDS' default.
      preset: tiny, default, sparse, anti, mnar, cart or large.
      **dials: Attributes of `SimulatorConfig`; None keeps the preset's value.

    Raises:
      InputError: There is no such preset or dial, or a value is out of range.
    """
    return cls(data_dir=data_dir, config=simulator_config(preset, **dials))

  def columns(self, start: int, stop: int) -> Columns:
    """Simulates rows [start, stop) again; see `SimulatedLog.columns`."""
    return self._log.columns(start, stop)

  @functools.cached_property
  def _log(self) -> SimulatedLog:
    return SimulatedLog(self.builder_config)

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
    return simulator_schema(self.builder_config), texts

  def _expected_splits(self) -> Iterable[str]:
    return self.builder_config.splits

  def _wrote(self, num_rows: int) -> None:
    """Does nothing: the parts advance the bar."""

  def _download_and_prepare(self, dl_manager, download_config=None) -> None:
    with choice.opened(self._num_rows(), ROWS_A_WORKER) as self._engine:
      super()._download_and_prepare(dl_manager, download_config)

  def _generate_splits(
      self,
  ) -> tuple[Schema, dict[str, Iterator[Written]], dict[str, Any]]:
    config = self.builder_config
    log, schema = SimulatedLog(config), simulator_schema(config)
    folder, tell = os.fspath(self.data_path), self._progress.update
    # Training shards come first: the ids of the next splits depend on them.
    report = {split: {} for split in config.splits}
    splits = {
        split: shards.shards(
            self._engine, log, split, schema, SHARD_ROWS, folder, counts, tell
        )
        for split, counts in report.items()
    }
    return schema, splits, report
