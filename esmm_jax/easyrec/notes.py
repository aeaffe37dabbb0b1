"""Notes on settings that cannot be carried over."""

from collections.abc import Sequence
from typing import Any

from esmm_jax.easyrec.text_proto import Message

# Settings without counterpart that need none: output folders and intervals,
# types of columns, which are read from the files, and prefetching.
_NEEDLESS = frozenset(
    'model_dir log_step_count_steps save_checkpoints_steps sync_replicas'
    ' save_checkpoints_secs keep_checkpoint_max save_summary_steps'
    ' prefetch_size input_fields metrics_set num_class tower_name group_name'
    ' eval_config export_config use_moving_average input_type shuffle'
    ' shuffle_buffer_size num_readers network_name train_distribute'
    ' auto_expand_input_fields features_name'.split()
)


class Notes:
  """Collects notes.

  Attributes:
    lines: The notes, by line of the file; those without a line come first.
  """

  def __init__(self):
    self._notes: list[tuple[int, str]] = []

  @property
  def lines(self) -> list[str]:
    return [text for _, text in sorted(self._notes, key=lambda note: note[0])]

  def add(self, line: int, what: str, why: str) -> None:
    prefix = f'line {line}: ' if line else ''
    self._notes.append((line, f'{prefix}{what}: {why}.'))

  def same(self, values: Sequence[Any], what: str, why: str) -> Any:
    """Returns the first of values; adds a note if they are not all equal."""
    if len(set(values)) > 1:
      different = ', '.join(map(str, dict.fromkeys(values)))
      self.add(0, what, f'{different} became {values[0]}; there is {why}')
    return values[0]

  def unused(self, root: Message) -> None:
    """Adds the settings that no conversion has read."""
    for path, line, value in root.unused():
      if path.rpartition('.')[2] not in _NEEDLESS and value is not False:
        shown = '{...}' if isinstance(value, Message) else value
        self.add(line, path, f'{shown} is not carried over')
