"""Updates of LibMTL (May 2025, commit 4336804), written to libmtl.json.

    PYTHONPATH=.:LIBMTL python -m tests.balancing.golden.make_libmtl

LIBMTL is a checkout; only `LibMTL/weighting/METHOD.py` are read of it, with
torch 2.14.1 and scipy 1.17.1, in float64. (`LibMTL/__init__.py` and
`LibMTL/weighting/__init__.py` may be emptied.) `torch.symeig`, which its
Aligned-MTL calls, left torch in version 2.0, and is replaced here.

The tasks' losses are linear in one vector of parameters, so that their
gradients are those of `jacobians.py`. An update is the vector that LibMTL
leaves as gradient of these parameters; a null is not finite.
"""

import importlib
import pathlib
import random
from typing import Any

import numpy as np
from tests.balancing.golden import jacobians
import torch

FILE = pathlib.Path(__file__).with_name('libmtl.json')
SMALL = np.array([[1.0, 0], [-4, 3]])

# Label -> the method and its arguments. The random orders of PCGrad and GradVac
# make no difference with two tasks.
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    'PCGrad': ('PCGrad', {}),
    'MGDA none': ('MGDA', dict(mgda_gn='none')),
    'MGDA l2': ('MGDA', dict(mgda_gn='l2')),
    'MGDA loss': ('MGDA', dict(mgda_gn='loss')),
    'MGDA loss+': ('MGDA', dict(mgda_gn='loss+')),
    'CAGrad 0': ('CAGrad', dict(calpha=0.5, rescale=0)),
    'CAGrad 1': ('CAGrad', dict(calpha=0.5, rescale=1)),
    'CAGrad 2': ('CAGrad', dict(calpha=0.5, rescale=2)),
    'IMTL': ('IMTL', {}),
    'Aligned_MTL': ('Aligned_MTL', {}),
    'FairGrad 1': ('FairGrad', dict(FairGrad_alpha=1.0)),
    'FairGrad 2': ('FairGrad', dict(FairGrad_alpha=2.0)),
}
TWO_TASKS = ('PCGrad',)


def start(name: str, gradients: np.ndarray) -> Any:
  """Returns a method with parameters of the gradients' size, at 0."""
  module = importlib.import_module(f'LibMTL.weighting.{name}')

  class Model(getattr(module, name)):
    """The parts of a model that a method asks for."""

    task_num = len(gradients)
    device = 'cpu'
    rep_grad = False
    epoch = 0

    def get_share_params(self):
      return [self.theta]

    def zero_grad_share_params(self):
      self.theta.grad = torch.zeros_like(self.theta)

  model = Model()
  model.theta = torch.nn.Parameter(torch.zeros(gradients.shape[1]))
  model.init_param()
  return model


def step(
    model: Any, gradients: np.ndarray, losses: np.ndarray, **options: Any
) -> list[float | None]:
  """Returns the update that the method makes of the gradients and losses."""
  model.zero_grad_share_params()
  random.seed(0)
  values = torch.tensor(gradients) @ model.theta + torch.tensor(losses)
  try:
    model.backward(values, **options)
  except Exception as e:  # Of solvers and of matrices without an inverse.
    print(f'  {type(e).__name__}: {str(e).splitlines()[0]}')
    return [None] * gradients.shape[1]
  update = model.theta.grad.tolist()
  return [x if np.isfinite(x) else None for x in update]


def table(cases: dict[str, np.ndarray]) -> list[dict]:
  rng = np.random.default_rng(30)
  results = []
  for case, gradients in cases.items():
    print(case)
    losses = jacobians.rounded(np.exp(rng.normal(-1, 1, len(gradients))))
    updates = {
        label: step(start(name, gradients), gradients, losses, **options)
        for label, (name, options) in METHODS.items()
        if label not in TWO_TASKS or len(gradients) == 2}
    results.append(dict(
        name=case, gradients=gradients, losses=losses, updates=updates))
  return results


def small() -> list[dict]:
  """The same gradients times a constant."""
  labels = ('CAGrad 0', 'FairGrad 1', 'PCGrad')
  results = []
  for scale in (1e-5, 1e-4, 1e-3, 1.0, 1e3):
    updates = {}
    for label in labels:
      name, options = METHODS[label]
      gradients = scale * SMALL
      updates[label] = step(
          start(name, gradients), gradients, np.ones(2), **options)
    results.append(dict(scale=scale, gradients=scale * SMALL, updates=updates))
  return results


def gradvac() -> dict:
  """Two tasks, step after step."""
  rng = np.random.default_rng(22)
  gradients = [jacobians.random_gradients(rng, 2, common=0.3)
               for _ in range(6)]
  model = start('GradVac', gradients[0])
  updates = [step(model, g, np.ones(2), GradVac_beta=0.5, GradVac_group_type=0)
             for g in gradients]
  return dict(gradients=gradients, updates=updates)


def gradnorm(gradients: np.ndarray, losses: np.ndarray) -> dict:
  """Weights of GradNorm in the end, where norms and losses stay the same."""
  model = start('GradNorm', gradients)
  model.epoch = 1
  model.train_loss_buffer = np.ones((len(gradients), 1))
  update = torch.optim.Adam([model.loss_scale], lr=0.003)
  for _ in range(3000):
    update.zero_grad()
    step(model, gradients, losses, alpha=1.5)
    update.step()
  scales = torch.softmax(model.loss_scale.detach(), 0)
  return dict(gradients=gradients, losses=losses, alpha=1.5,
              weights=(len(gradients) * scales).tolist())


def famo() -> dict:
  rng = np.random.default_rng(31)
  before, after = (jacobians.rounded(np.exp(rng.normal(-1, 1, (5, 2))))
                   for _ in range(2))
  model = start('FAMO', np.eye(2))
  rows = []
  for losses, later in zip(before, after):
    rows.append(step(model, np.eye(2), losses, FAMO_w_lr=0.025,
                     FAMO_w_gamma=1e-3))
    model.prev_losses = model.prev_losses.detach()
    model.update_w(torch.tensor(later))
  return dict(before=before, after=after, weights=rows)


def stch() -> dict:
  """Three steps of its warm-up, then four."""
  rng = np.random.default_rng(32)
  steps = jacobians.rounded(np.exp(rng.normal(-1, 1, (7, 3))))
  model = start('STCH', np.eye(3))
  rows = []
  for i, losses in enumerate(steps):
    model.epoch = int(i >= 3)
    rows.append(step(model, np.eye(3), losses, STCH_mu=0.5,
                     STCH_warmup_epoch=0))
  return dict(losses=steps, warm_up=3, mu=0.5, weights=rows)


def main() -> None:
  """Writes the file."""
  torch.set_default_dtype(torch.float64)
  torch.symeig = lambda m, eigenvectors: torch.linalg.eigh(m)
  regular, degenerate = jacobians.regular(), jacobians.degenerate()
  results = dict(
      versions={'LibMTL': '4336804', 'torch': torch.__version__},
      regular=table(regular), degenerate=table(degenerate),
      small=small(), gradvac=gradvac(),
      gradnorm=gradnorm(np.diag([1.0, 3.0, 0.2]), np.array([0.5, 0.4, 0.7])),
      famo=famo(), stch=stch())
  FILE.write_text(jacobians.to_json(results), 'utf-8')


if __name__ == '__main__':
  main()
