"""One network for each task, nothing shared."""

from collections.abc import Sequence

from esmm_jax.models.architecture import Architecture
from esmm_jax.models.layers import Tower
from esmm_jax.types import Array, Batch, InputError
import flax.linen as nn


class SingleTask(Architecture):
  """The reference that gains are measured against.

  Each task has its own embedding and tower. Trained with `click_space`, it is
  one model for each task, trained side by side: no parameter sees two losses.
  (With `entire_space` it is ESMM-NS: the CTCVR term trains both.)

  Two sizes are fair: each task's network as wide as a tower of the other
  models, or all of them together as large as a multi-task network.

  Attributes:
    tower_units: Hidden widths of each network.
    match_params: If > 0, scales the widths by one factor so that all towers
      together have this many parameters (`num_network_params` of another run's
      results.json), as nearly as whole widths allow. Norms, cross layers,
      interactions, the slopes of activations and heads are not counted.

  References:
    Tang et al., Progressive Layered Extraction, RecSys 2020, equation 11, for
    the gain over single-task models of the same structure.
  """

  tower_units: Sequence[int] = (360, 200, 80)
  match_params: int = 0

  @property
  def num_tables(self) -> int:
    """The number of embeddings of an id: 1 for each task."""
    return len(self.tasks)

  @nn.compact
  def __call__(
      self, table: Array, batch: Batch, *, train: bool = False
  ) -> dict[str, Array]:
    """Computes the outputs of a batch; see `SharedEmbedding`."""
    embedded = self.inputs(table, batch)
    inputs = dict(zip(self.tasks, embedded.vectors))
    units = tuple(self.tower_units)
    if self.match_params:
      target = self.match_params / len(self.tasks)
      units = scaled_widths(inputs[self.tasks[0]].shape[-1], units, target)
    return embedded.added({
        name: Tower(units, self.layer_options, name=f'tower_{name}')(
            inputs[task], batch.where, train
        )
        for name, task in self.outputs.items()
    })


def tower_params(num_inputs: int, units: Sequence[int]) -> int:
  """Counts the weights and biases of a plain tower with one output.

  >>> tower_params(10, (4,))  # 10 x 4 + 4, then 4 + 1.
  49
  """
  widths = (num_inputs, *units, 1)
  return sum((a + 1) * b for a, b in zip(widths, widths[1:]))


def scaled_widths(
    num_inputs: int, units: Sequence[int], target: float
) -> tuple[int, ...]:
  """Scales the widths by one factor, so that a tower has `target` parameters.

  >>> scaled_widths(10, (4, 2), target=200)
  (11, 6)
  >>> tower_params(10, (11, 6))
  200

  Args:
    num_inputs: Width of the input.
    units: Hidden widths to scale.
    target: Parameters wanted.

  Returns:
    The widths whose tower comes nearest to `target`.

  Raises:
    InputError: There is no hidden layer, or even width 1 has more.
  """
  scale = lambda factor: tuple(max(1, round(factor * u)) for u in units)
  if not units or tower_params(num_inputs, scale(0)) > target:
    raise InputError(
        f'model.match_params asks for {target:.0f} parameters a task, which no'
        f' widths like tower_units={tuple(units)} on {num_inputs} inputs have.'
    )
  low, high = 0.0, 1.0
  # Bisection of the factor; rounded widths may jump past the target, so the
  # nearer end counts.
  while tower_params(num_inputs, scale(high)) < target:
    high *= 2
  for _ in range(60):
    middle = (low + high) / 2
    if tower_params(num_inputs, scale(middle)) < target:
      low = middle
    else:
      high = middle
  error = lambda w: abs(tower_params(num_inputs, w) - target)
  return min(scale(low), scale(high), key=error)
