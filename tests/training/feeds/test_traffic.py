"""The bytes of a step, by shapes; `tests.parallel` compares the program's."""

import types

from esmm_jax.optim import tables
from esmm_jax.training.feeds.traffic import of_step, Traffic
import jax
import pytest

from tests.training import test_step

D = 4
# Of towers 8-4-1 over 3 embedded fields and a float, two of them.
NET = 2 * ((3 * D + 1) * 8 + 8 + 8 * 4 + 4 + 4 + 1)
# Optimizer of the table -> numbers of a row that travel, those of the table
# among them; bfloat16 moments are added up as 4 bytes too.
ROWS = {
    'sgd': D, 'adam': 3 * D, 'adagrad': 2 * D, 'rowwise_adagrad': D + 1,
    'bfloat16': 3 * D}


def layout(replicas=1, data=1, rows=1, processes=1):
  return types.SimpleNamespace(
      num_replicas=replicas, num_parts=data * rows, num_rows=rows,
      num_devices=replicas * data * rows, num_processes=processes,
      shares_batches=processes > 1)


def state(optimizer, replicas):
  options = {'table_optimizer': optimizer}
  if optimizer == 'bfloat16':
    options = {'table_optimizer': 'adam', 'table_moments': 'bfloat16'}
  plan = test_step.make_plan()._replace(row_tx=tables.table_optimizer(
      tables.TableOptions(**options), test_step.ADAM, 1))
  return jax.eval_shape(lambda: test_step.start(plan, range(replicas)))


@pytest.mark.parametrize('optimizer', ROWS)
@pytest.mark.parametrize('replicas', [1, 2])
def test_by_the_formula(optimizer, replicas):
  """4 bytes a number; U is 100 and a batch has 64 x 9.

  Rows are taken for the two ids together and for the tags. A process lists 30,
  as many on each of its devices.
  """
  of = state(optimizer, 2)
  each = 2 // replicas
  got = of_step(
      of, layout(replicas, 2, 4, 2), test_step.SCHEMA, 100, 0, 30, 64 * 9)
  assert got == Traffic(
      gradients=4 * each * (NET + 2 * 100 * D),
      rows=4 * each * 100 * ROWS[optimizer],
      lists=4 * 32 * 2,
      examples=4 * 64 * 9)
  assert got.total == sum(got)
  sizes = test_step.SCHEMA, 100
  by_data = of_step(of, layout(replicas, 8), *sizes, numbers=64)
  assert by_data == Traffic(got.gradients, 0, 0, 4 * 64)
  assert of_step(of, layout(replicas), *sizes, numbers=64) == Traffic()


def test_lines():
  exchanged = Traffic(1000, 0, 20)
  assert exchanged.line(layout(1, 4, 1, 2)) == (
      'Each of 2 processes exchanges 1,020 bytes a step: gradients 1,000,'
      ' lists 20.')
  assert Traffic().line(layout(4)) == (
      'Each of 4 devices exchanges 0 bytes a step.')
