"""The lines of an evaluation."""

from collections.abc import Mapping
import shutil

# Columns where there is no terminal, and the fewest in one.
_DEFAULT, _LEAST = 100, 80


def line(
    step: int,
    epoch: float,
    metrics: Mapping[str, float],
    selects: str = '',
    width: int | None = None,
) -> str:
  """Formats an evaluation: the metric that selects comes first.

  What does not fit goes on in another line, two columns to the right. Where
  the truth is known its metrics are in metrics.jsonl alone.

  Args:
    step: Steps done.
    epoch: Epochs done.
    metrics: `train/loss`, `valid/...`.
    selects: The metric that selects the parameters, `valid/ctcvr/logloss`.
    width: Columns; None: those of the terminal, and 100 without one.
  """
  if width is None:
    width = max(shutil.get_terminal_size((_DEFAULT, 24)).columns, _LEAST)
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
      parts += [f' | {wanted} {values[0]}', *(f' {v}' for v in values[1:])]
  if 'valid/ctcvr/logloss' in metrics and selects != 'valid/ctcvr/logloss':
    parts.append(f' logloss {metrics["valid/ctcvr/logloss"]:.5f}')
  lines = [text]
  for part in parts:
    if len(lines[-1]) + len(part) <= width:
      lines[-1] += part
    else:
      lines.append('  ' + part.removeprefix(' |').strip())
  return '\n'.join(lines)


def _number(key: str, value: float) -> str:
  """Returns a metric with the digits that its differences need."""
  return f'{value:.5f}' if key.endswith('/logloss') else f'{value:.4f}'
