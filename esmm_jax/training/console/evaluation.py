"""The lines of an evaluation."""

from collections.abc import Mapping

from esmm_jax.training.console import columns

# Of each metric so many sample spaces, the first ones.
_MOST = 12


def line(
    step: int,
    epoch: float,
    metrics: Mapping[str, float],
    selects: str = '',
    width: int | None = None,
) -> str:
  """Formats an evaluation: the metric that selects comes first.

  What does not fit goes on in another line, two columns to the right. Where
  the truth is known its metrics are in metrics.jsonl alone, as are those of
  many tasks.

  Args:
    step: Steps done.
    epoch: Epochs done.
    metrics: `train/loss`, `valid/...`.
    selects: The metric that selects the parameters, `valid/ctcvr/logloss`.
    width: Columns; None: those of the terminal, and 100 without one.
  """
  text = f'step {step:,} epoch {epoch:.2f}'
  parts = [f' loss {metrics["train/loss"]:.4f}']
  if selects in metrics:
    short = selects.removeprefix('valid/')
    parts.insert(0, f' {short} {_number(selects, metrics[selects])}')
  for wanted in ('auc', 'mse'):
    values = [
        f'{key.split("/")[1]} {value:.4f}'
        for key, value in metrics.items()
        if key.startswith('valid/')
        and key.endswith(f'/{wanted}')
        and '_entire/' not in key
        and key != selects
    ]
    if values:
      more = len(values) - _MOST
      parts += [f' | {wanted} {values[0]}', *(f' {v}' for v in values[1:_MOST])]
      parts += [f' and {more} more in metrics.jsonl'] if more > 0 else []
  if 'valid/ctcvr/logloss' in metrics and selects != 'valid/ctcvr/logloss':
    parts.append(f' logloss {metrics["valid/ctcvr/logloss"]:.5f}')
  return columns.joined(text, parts, width)


def _number(key: str, value: float) -> str:
  """Returns a metric with the digits that its differences need."""
  return f'{value:.5f}' if key.endswith('/logloss') else f'{value:.4f}'
