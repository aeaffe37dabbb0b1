"""What cannot be carried over, for people to read."""

from collections.abc import Sequence
from typing import Any

from esmm_jax.easyrec.text_proto import Message

# Has no counterpart and needs none: where and how often EasyRec writes, types
# of columns that are read as they come, how data is fetched.
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
    lines: In the order of the file as far as it is known.
  """

  def __init__(self):
    self._found: list[tuple[int, str]] = []

  @property
  def lines(self) -> list[str]:
    return [text for _, text in sorted(self._found, key=lambda f: f[0])]

  def add(self, line: int, what: str, why: str) -> None:
    place = f'line {line}: ' if line else ''
    self._found.append((line, f'{place}{what}: {why}.'))

  def same(self, values: Sequence[Any], what: str, why: str) -> Any:
    """The first of values that ought to be equal; says so if they are not."""
    if len(set(values)) > 1:
      different = ', '.join(map(str, dict.fromkeys(values)))
      self.add(0, what, f'{different} became {values[0]}; there is {why}')
    return values[0]

  def unused(self, root: Message) -> None:
    """Adds what nothing asked for."""
    for path, line, value in root.unused():
      if path.rpartition('.')[2] not in _NEEDLESS and value is not False:
        shown = '{...}' if isinstance(value, Message) else value
        self.add(line, path, f'{shown} is not carried over')
