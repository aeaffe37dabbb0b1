"""Weights of TorchJD 0.18.0, written to torchjd.json.

    python -m venv peers
    peers/bin/pip install 'torchjd[full]==0.18.0' torch==2.14.1 ecos==2.0.14
    peers/bin/python -m tests.balancing.golden.make_torchjd

Nothing of `esmm_jax` and no jax is used. Everything is float64. A null is a
weight that is not finite, or that the library refused to compute. Another
version of a solver (cvxpy 1.9.3, clarabel 0.11.1, quadprog 0.1.14, scipy
1.17.1) may move the last digits, and Nash-MTL's failures by more.
"""

from collections.abc import Callable, Sequence
import itertools
import pathlib
from unittest import mock

import numpy as np
from tests.balancing.golden import jacobians
from tests.balancing.golden import min_norm
import torch
from torchjd import aggregation
from torchjd import scalarization

FILE = pathlib.Path(__file__).with_name('torchjd.json')
SEARCHED = 3000  # Random gradients among which the worst are looked for.
SEARCHED_BY_NASH = 400  # Its solver is slow.
KEPT = 4

Weigh = Callable[[torch.Tensor], torch.Tensor]


def nash(gradients: torch.Tensor) -> torch.Tensor:
  """Nash-MTL's weights with its defaults, without the clipping."""
  method = aggregation.NashMTL(len(gradients), max_norm=0)
  return method.weighting(gradients)


def of_gram(weighting: aggregation.Weighting) -> Weigh:
  return lambda gradients: weighting(gradients @ gradients.T)


WITHOUT_MEMORY: dict[str, Weigh] = {
    'UPGrad()': of_gram(aggregation.UPGradWeighting()),
    'DualProj()': of_gram(aggregation.DualProjWeighting()),
    'MGDA()': of_gram(aggregation.MGDAWeighting()),
    'CAGrad(0.2)': of_gram(aggregation.CAGradWeighting(c=0.2)),
    'CAGrad(0.5)': of_gram(aggregation.CAGradWeighting(c=0.5)),
    'CAGrad(0.9)': of_gram(aggregation.CAGradWeighting(c=0.9)),
    'IMTLG()': of_gram(aggregation.IMTLGWeighting()),
    'AlignedMTL(min)': of_gram(aggregation.AlignedMTLWeighting()),
    'AlignedMTL(median)': of_gram(
        aggregation.AlignedMTLWeighting(scale_mode='median')),
    'AlignedMTL(rmse)': of_gram(
        aggregation.AlignedMTLWeighting(scale_mode='rmse')),
    'FairGrad(0.5)': of_gram(aggregation.FairGradWeighting(alpha=0.5)),
    'FairGrad(1)': of_gram(aggregation.FairGradWeighting(alpha=1)),
    'FairGrad(2)': of_gram(aggregation.FairGradWeighting(alpha=2)),
    'NashMTL()': nash,
    'PCD()': lambda g: aggregation.PCDWeighting()(g @ g.T),
    'PCD(0.3)': lambda g: aggregation.PCDWeighting(tau=0.3)(g @ g.T),
}


def weights(weigh: Weigh, gradients: np.ndarray) -> list[float | None]:
  """Returns the weights, None for those that are not finite."""
  try:
    got = weigh(torch.tensor(gradients)).detach().tolist()
  except Exception as e:  # The solvers raise errors of many kinds.
    print(f'  {type(e).__name__}: {str(e).splitlines()[0]}')
    got = [float('nan')] * len(gradients)
  return [w if np.isfinite(w) else None for w in got]


def table(cases: dict[str, np.ndarray]) -> list[dict]:
  results = []
  for name, gradients in cases.items():
    print(name)
    got = {k: weights(f, gradients) for k, f in WITHOUT_MEMORY.items()}
    results.append(dict(name=name, gradients=gradients, weights=got))
  return results


def all_orders(
    make: Callable[[], aggregation.Weighting], gradients: np.ndarray
) -> list[list[float]]:
  """Returns the different weights that the orders of the tasks lead to."""
  num = len(gradients)
  size = num if make is aggregation.PCGradWeighting else num - 1
  orders = list(itertools.permutations(range(size)))
  results = set()
  for chosen in itertools.product(orders, repeat=num):
    answers = iter(torch.tensor(order) for order in chosen)
    with mock.patch.object(torch, 'randperm', lambda _, it=answers: next(it)):
      got = of_gram(make())(torch.tensor(gradients))
    results.add(tuple(float(f'{w:.12g}') for w in got.tolist()))
  return sorted(map(list, results))


def orders() -> list[dict]:
  """Methods of which the order of the tasks is random: every outcome."""
  rng = np.random.default_rng(21)
  methods = {'PCGrad()': aggregation.PCGradWeighting,
             'GradVac()': aggregation.GradVacWeighting}
  cases = [jacobians.random_gradients(rng, n, spread=s)
           for n, s in [(2, 1), (2, 3), (3, 0), (3, 1), (3, 1)]]
  return [
      dict(gradients=g, outcomes={k: all_orders(f, g)
                                  for k, f in methods.items()})
      for g in [*cases, np.array([[1.0, 0], [-0.5, 2]])]]


def sequences() -> list[dict]:
  """Methods with a memory: step after step."""
  rng = np.random.default_rng(22)
  steps = {n: [jacobians.random_gradients(rng, n, common=0.3)
               for _ in range(6)] for n in (2, 3, 4)}
  gradvac = aggregation.GradVacWeighting
  pcd = aggregation.PCDWeighting
  # Of GradVac two tasks: with more the order is random.
  methods = [
      ('GradVac()', gradvac, {}, (2,)),
      ('GradVac(0.1)', gradvac, dict(beta=0.1), (2,)),
      ('PCD()', pcd, {}, (2, 3, 4)),
      ('PCD(0.3, 0.5)', pcd, dict(tau=0.3, beta=0.5), (2, 3, 4)),
  ]
  results = []
  for label, make, options, nums in methods:
    for num in nums:
      weigh = of_gram(make(**options))
      results.append(dict(label=label, gradients=steps[num],
                          weights=[weights(weigh, g) for g in steps[num]]))
  return results


def excess(weigh: Sequence[float], gradients: np.ndarray) -> float:
  """How far above the minimum the squared norm of MGDA's update is."""
  gram = gradients @ gradients.T
  best = min_norm.min_norm(gram)
  return (weigh @ gram @ weigh) / (best @ gram @ best) - 1


def turned(weigh: Sequence[float], gradients: np.ndarray) -> float:
  """Relative error of w2 / w1 for two tasks of Nash-MTL."""
  norms = np.linalg.norm(gradients, axis=1)
  return abs(weigh[1] / weigh[0] * norms[1] / norms[0] - 1)


def worst(label: str, cases: list[np.ndarray], error: Callable) -> dict:
  """Returns the cases of largest error, and how the errors are spread."""
  got = [np.array(weights(WITHOUT_MEMORY[label], g), float) for g in cases]
  errors = np.array([error(w, g) for w, g in zip(got, cases)])
  largest = np.argsort(-errors)[:KEPT]
  print(label, 'errors:', np.percentile(errors, [50, 90, 99, 100]))
  return dict(
      searched=len(cases), median=np.median(errors), worst=errors.max(),
      over_one_percent=float((errors > 0.01).mean()),
      cases=[dict(gradients=cases[i], weights=got[i]) for i in largest])


def searches() -> dict[str, dict]:
  rng = np.random.default_rng(23)
  many = [jacobians.random_gradients(rng, 3 + i % 2) for i in range(SEARCHED)]
  pairs = [jacobians.random_gradients(rng, 2) for _ in range(SEARCHED_BY_NASH)]
  return {'worst MGDA()': worst('MGDA()', many, excess),
          'worst NashMTL()': worst('NashMTL()', pairs, turned)}


def small() -> list[dict]:
  """The same gradients times a constant."""
  labels = ('UPGrad()', 'DualProj()', 'CAGrad(0.5)', 'FairGrad(1)',
            'FairGrad(2)', 'NashMTL()')
  gradients = np.array([[1.0, 0], [-4, 3]])
  return [
      dict(scale=scale, gradients=scale * gradients,
           weights={k: weights(WITHOUT_MEMORY[k], scale * gradients)
                    for k in labels})
      for scale in (1e-4, 1e-3, 1.0, 1e3)]


def of_losses(
    scalarizer: Callable[[torch.Tensor], torch.Tensor], losses: np.ndarray
) -> list[float]:
  """Returns the derivative of what the scalarizer makes of the losses."""
  values = torch.tensor(losses, requires_grad=True)
  scalarizer(values).backward()
  return values.grad.tolist()


def learned(make: Callable, steps: np.ndarray) -> dict:
  """A scalarizer whose parameters learn along with Adam: UW, IMTL-L."""
  method = make(steps.shape[1])
  update = torch.optim.Adam(method.parameters(), lr=0.1)
  rows = []
  for losses in steps:
    update.zero_grad()
    rows.append(of_losses(method, losses))
    update.step()
  return dict(rate=0.1, losses=steps, weights=rows)


def dwa(windows: np.ndarray) -> dict:
  method = scalarization.DWA(temperature=1.5)
  rows = []
  for window in windows:
    for losses in window:
      rows.append(of_losses(method, losses))
    method.step()
  return dict(temperature=1.5, window=windows.shape[1],
              losses=windows.reshape(-1, windows.shape[2]), weights=rows)


def famo(before: np.ndarray, after: np.ndarray) -> dict:
  method = scalarization.FAMO(before.shape[1])
  rows = []
  for losses, later in zip(before, after):
    rows.append(of_losses(method, losses))
    method.update(torch.tensor(later))
  return dict(before=before, after=after, weights=rows)


def losses() -> list[dict]:
  """Methods that see losses alone."""
  rng = np.random.default_rng(24)
  draw = lambda *shape: jacobians.rounded(np.exp(rng.normal(-1, 1, shape)))
  results = []
  for num in (2, 3):
    steps, later = draw(6, num), draw(6, num)
    for label in ('UW', 'IMTLL'):
      make = getattr(scalarization, label)
      results.append(dict(label=label, **learned(make, steps)))
    results.append(dict(label='DWA', **dwa(draw(4, 3, num))))
    results.append(dict(label='FAMO', **famo(steps, later)))
    for mu in (0.01, 0.1, 1.0):
      rows = [of_losses(scalarization.STCH(mu), x) for x in steps]
      results.append(dict(label='STCH', mu=mu, losses=steps, weights=rows))
  return results


def random_moments() -> dict:
  """Mean and covariance of the weights of random weighting."""
  torch.manual_seed(0)
  draws = np.stack([
      of_losses(scalarization.Random(), np.ones(3)) for _ in range(20_000)])
  return dict(draws=len(draws), mean=draws.mean(0), covariance=np.cov(draws.T))


def main() -> None:
  """Writes the file."""
  torch.set_default_dtype(torch.float64)
  results = dict(
      versions={'torchjd': '0.18.0', 'torch': torch.__version__},
      regular=table(jacobians.regular()),
      degenerate=table(jacobians.degenerate()),
      orders=orders(), sequences=sequences(), small=small(), losses=losses(),
      random=random_moments(), **searches())
  FILE.write_text(jacobians.to_json(results), 'utf-8')


if __name__ == '__main__':
  main()
