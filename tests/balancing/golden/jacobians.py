"""Gradients of two, three and four tasks, for all the golden values.

Numbers of five digits, so that JSON holds just what the libraries saw.
"""

import json

import numpy as np

DIM = 6

# Each stands for a fault of a method: see tests/balancing/test_peers.py.
DEGENERATE = {
    'equal': [[1, 0], [1, 0]],
    'opposite': [[1, 0], [-1, 0]],
    'first = -2 second': [[2, 0], [-1, 0]],
    'first = 2 second': [[2, 0], [1, 0]],
    'first is 0': [[0, 0], [1, 0]],
    'second is 0': [[1, 0], [0, 0]],
    'all are 0': [[0, 0], [0, 0]],
    'second of three is 0': [[1, 0, 0], [0, 0, 0], [-1, 1, 0]],
    'two of three equal': [[1, 0, 0], [1, 0, 0], [-1, 2, 0]],
    'two of three opposite': [[1, 0, 0], [-1, 0, 0], [0, 1, 0]],
    'three in a plane': [[1, 0, 0], [1, 2, 0], [2, 1, 0]],
    'three in a plane, surrounding 0': [[1, 0, 0], [-1, 1, 0], [-1, -2, 0]],
    'third = sum of two': [[1, 0, 0], [0, 1, 0], [1, 1, 0]],
}


def random_gradients(
    rng: np.random.Generator,
    num_tasks: int,
    common: float = 0.0,
    spread: float = 1.0,
) -> np.ndarray:
  """Returns random gradients [num_tasks, DIM].

  Args:
    rng: The source of random numbers.
    num_tasks: The number of tasks.
    common: Length of the part that all directions share; 0 for directions that
      are independent, 2 for hardly a conflict.
    spread: Norms are e^(spread x normal).
  """
  units = rng.standard_normal((num_tasks, DIM))
  units /= np.linalg.norm(units, axis=1, keepdims=True)
  units[:, 0] += common
  norms = np.exp(spread * rng.standard_normal((num_tasks, 1)))
  return rounded(norms * units)


def regular() -> dict[str, np.ndarray]:
  """Returns name -> gradients with a Gram matrix that has an inverse."""
  rng = np.random.default_rng(20)
  cases = {}
  for ratio in (1, 10, 300):
    for cosine in (-0.95, -0.5, 0.0, 0.5, 0.95):
      sine = np.sqrt(1 - cosine**2)
      gradients = [[1.0, 0.0], [ratio * cosine, ratio * sine]]
      scale = np.exp(rng.standard_normal())
      name = f'2 tasks, norm ratio {ratio}, cosine {cosine}'
      cases[name] = rounded(scale * np.asarray(gradients))
  for num_tasks in (3, 4):
    for common, spread in [
        (0, 0), (0, 1), (0, 1), (0, 3), (0.5, 1), (0.5, 1), (2, 0), (2, 1)]:
      name = f'{num_tasks} tasks, common {common}, spread {spread}'
      gradients = random_gradients(rng, num_tasks, common, spread)
      cases[name if name not in cases else name + ', again'] = gradients
  return cases


def degenerate() -> dict[str, np.ndarray]:
  """Returns name -> gradients that are zero, or depend on each other."""
  return {name: np.asarray(g, float) for name, g in DEGENERATE.items()}


def rounded(values: np.ndarray) -> np.ndarray:
  """Returns the values with five digits."""
  return np.vectorize(lambda x: float(f'{x:.5g}'))(values)


def to_json(results: dict) -> str:
  """Returns JSON with a line for each case."""
  def plain(value):
    return value.tolist() if isinstance(value, np.ndarray) else float(value)

  lines = []
  for key, value in results.items():
    parts = value if isinstance(value, list) else [value]
    texts = ',\n'.join('  ' + json.dumps(x, default=plain) for x in parts)
    wrap = f'[\n{texts}\n]' if isinstance(value, list) else texts.strip()
    lines.append(f'{json.dumps(key)}: {wrap}')
  return '{\n' + ',\n'.join(lines) + '\n}\n'
