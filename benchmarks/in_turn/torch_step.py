"""The model of `benchmarks.in_turn.lists_torch` in torch; needs no JAX.

  python benchmarks/in_turn/torch_step.py BATCHES.npz FORM

FORM is `bags`, all fields in one EmbeddingBag with bags of one id, or `mixed`,
which looks single ids up as an Embedding does. Gradients of the table are
sparse, its optimizer is SparseAdam, that of the towers the fused Adam. For each
line on stdin, a number of seconds, it takes steps for so long and prints a JSON
object with `steps`, `wall` and `cpu`, seconds by the clock and of the
processors.
"""

import json
import os
import sys
import time

import numpy as np
import torch
from torch import nn
import torch.nn.functional as F


class Model(nn.Module):
  """ESMM: one table, sums of lists, a tower for clicks and one for conversions.

  Attributes:
    table: Rows of all fields.
  """

  def __init__(self, num_rows, width, num_fields, units, form):
    """Draws the parameters.

    Args:
      num_rows: Rows of the table.
      width: Numbers of a row.
      num_fields: Single ids and lists.
      units: Of a tower.
      form: `bags` or `mixed`.
    """
    super().__init__()
    self.table = nn.EmbeddingBag(num_rows, width, mode='sum', sparse=True)
    nn.init.normal_(self.table.weight, std=0.01)
    self._form = form
    self._click = tower(num_fields * width, units)
    self._conversion = tower(num_fields * width, units)

  def forward(self, single, lists, starts):
    """Computes the probabilities of click, and of click and conversion.

    Args:
      single: Single ids, int64 [B, F].
      lists: Entries of all lists, int64.
      starts: Beginnings of the lists, int64 [F' * B].

    Returns:
      Two of float32 [B].
    """
    size = len(single)
    if self._form == 'bags':
      flat = single.flatten()
      bags = torch.cat([torch.arange(len(flat)), len(flat) + starts])
      rows = self.table(torch.cat([flat, lists]), bags)
      ids, pooled = rows[: len(flat)], rows[len(flat) :]
    else:
      ids = F.embedding(single, self.table.weight, sparse=True)
      pooled = self.table(lists, starts)
    pooled = pooled.view(-1, size, self.table.embedding_dim).transpose(0, 1)
    parts = ids.reshape(size, -1), pooled.reshape(size, -1)
    x = torch.cat(parts, 1)
    click = torch.sigmoid(self._click(x)[:, 0])
    return click, click * torch.sigmoid(self._conversion(x)[:, 0])


def tower(inner, units):
  """Makes layers with ReLU, and one number last."""
  widths, layers = [inner, *units], []
  for a, b in zip(widths, widths[1:]):
    layers += [nn.Linear(a, b), nn.ReLU()]
  return nn.Sequential(*layers, nn.Linear(units[-1], 1))


def main() -> None:
  path, form = sys.argv[1:]
  torch.set_num_threads(len(os.sched_getaffinity(0)))
  torch.set_flush_denormal(True)
  torch.manual_seed(0)
  with np.load(path) as arrays:
    sizes = [int(arrays[k]) for k in ('num_rows', 'width', 'num_fields')]
    model = Model(*sizes, arrays['units'].tolist(), form)
    names = ('single', 'lists', 'starts', 'click', 'conversion')
    batches = [
        [torch.from_numpy(arrays[f'{name}_{k}']) for name in names]
        for k in range(int(arrays['num_batches']))
    ]
  table = [model.table.weight]
  others = [p for p in model.parameters() if p is not table[0]]
  optimizers = [
      torch.optim.SparseAdam(table, lr=1e-3),
      torch.optim.Adam(others, lr=1e-3, fused=True),
  ]
  done = 0

  def step():
    single, lists, starts, click, conversion = batches[done % len(batches)]
    p_click, p_both = model(single, lists, starts)
    loss = F.binary_cross_entropy(p_click, click)
    loss = loss + F.binary_cross_entropy(p_both, click * conversion)
    for optimizer in optimizers:
      optimizer.zero_grad()
    loss.backward()
    for optimizer in optimizers:
      optimizer.step()

  for line in sys.stdin:
    first, start, cpu = done, time.perf_counter(), time.process_time()
    while time.perf_counter() - start < float(line):
      step()
      done += 1
    print(json.dumps({
        'steps': done - first,
        'wall': time.perf_counter() - start,
        'cpu': time.process_time() - cpu,
    }), flush=True)


if __name__ == '__main__':
  main()
