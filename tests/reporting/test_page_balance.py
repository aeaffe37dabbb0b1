"""What a page says of the weights of the tasks and of their gradients."""

from esmm_jax.reporting.page import parts, run_page
import pytest

from tests.reporting.test_page import CONFIG, LINES, Page, RESULTS, write_run

PAIR = 'ctr|ctcvr'


def of_pair(pair, values, parts_=('all', 'tables', 'trunk')):
  return {
      f'balancing/{name}/{part}/{pair}': value * (1 + k) / 4
      for name, value in values.items() for k, part in enumerate(parts_)}


def record(k=0, pairs=(PAIR,)):
  values = {'cosine': 0.4 - k, 'conflict': 0.1 + k / 10, 'norm_ratio': 0.04}
  made = {
      'balancing/share/ctr': 0.25, 'balancing/share/ctcvr': 0.75,
      'balancing/total': 2.0, 'balancing/present/ctr': 1.0,
      'balancing/present/ctcvr': 0.875, 'balancing/degenerate': 0.0}
  for pair in pairs:
    made |= of_pair(pair, values) | {f'balancing/ratio/{pair}': 3.0 + k}
  return made


def in_lines(records):
  return [
      line | {f'train/{key}': value for key, value in of_line.items()}
      for line, of_line in zip(LINES, records)]


def page_of(folder, lines, results, name='pcgrad'):
  config = CONFIG | {'balancing': {'name': name}}
  skip = ('predictions', 'calibration.json')
  write_run(folder, skip, config, RESULTS | results, lines)
  return Page(parts.render(run_page.make(str(folder))))


def table(page, first):
  return next((t for t in page.tables if t[0][0] == first), None)


def test_the_weights_and_gradients_of_a_run(tmp_path):
  lines = in_lines([record(k) for k in range(3)])
  page = page_of(tmp_path / 'run', lines, record())
  assert 'Balance of the tasks' in page.words
  assert table(page, 'term') == [
      ['term', 'share', 'in a batch'],
      ['ctr', '0.25', '1'], ['ctcvr', '0.75', '0.875']]
  assert table(page, 'pair')[:3] == [
      ['pair', 'part', 'cosine', 'norm ratio', 'conflict rate'],
      ['ctcvr : ctr', 'all', '0.1', '0.01', '0.025'],
      ['ctcvr : ctr', 'tables', '0.2', '0.02', '0.05']]
  for text in (
      'The method pcgrad weighs the tasks', '--config.balancing.name=replay',
      'share of the steps whose cosine is below 0',
      'Weight ratio, cosine, norm ratio and conflict rate along training'):
    assert text in page.words
  assert (tmp_path / 'run' / 'plots' / 'balance.png').stat().st_size > 10_000
  # They are no losses.
  assert 'no solution' not in page.words


def test_steps_without_solution_are_told(tmp_path):
  results = record(pairs=()) | {'balancing/degenerate': 0.0125}
  page = page_of(tmp_path / 'run', in_lines([results] * 3), results)
  assert ('In 1.25 % of the steps the method pcgrad had no solution, and the'
          ' tasks had the weight 1.') in page.words


@pytest.mark.parametrize('name', ['static', 'replay'])
def test_constant_weights_have_no_control(name, tmp_path):
  made = record(pairs=())
  page = page_of(tmp_path / 'run', in_lines([made] * 3), made, name)
  assert f'The method {name} weighs the tasks' in page.words
  assert 'balancing.name=replay' not in page.words


def test_a_run_without_records_has_no_section(tmp_path):
  page = page_of(tmp_path / 'run', LINES, {})
  assert 'Balance of the tasks' not in page.words
  assert not (tmp_path / 'run' / 'plots' / 'balance.png').exists()


def test_an_unfinished_run_has_the_section(tmp_path):
  skip = ('predictions', 'calibration.json', 'results.json')
  lines = in_lines([record(pairs=())] * 3)
  write_run(tmp_path / 'run', skip, lines=lines)
  page = Page(parts.render(run_page.make(str(tmp_path / 'run'))))
  assert 'Balance of the tasks' in page.words
  assert table(page, 'pair') is None


@pytest.mark.slow
def test_of_many_pairs_those_that_conflict_most_are_drawn(tmp_path):
  terms = [f't{k}' for k in range(5)]
  pairs = [f'{a}|{b}' for i, a in enumerate(terms) for b in terms[i + 1:]]
  page = page_of(tmp_path / 'run', in_lines([record(0, pairs)] * 3),
                 record(0, pairs))
  assert 'Of 10 pairs the 6 with the highest conflict rate' in page.words
  assert len(table(page, 'pair')) == 1 + 10 * 3


def test_weights_by_part(tmp_path):
  """With parts='each' every part has its own."""
  whole = {
      f'balancing/{key}': value
      for key, value in {
          'share/tables/ctr': 0.125, 'share/trunk/ctr': 0.5,
          'share/tables/gates': 0.875, 'share/trunk/gates': 0.5,
          'total/tables': 2.0, 'total/trunk': 1.0, 'present/ctr': 1.0,
          'ratio/tables/ctr|gates': 7.0}.items()}
  page = page_of(tmp_path / 'run', in_lines([whole] * 3), whole)
  assert table(page, 'term') == [
      ['term', 'share, tables', 'share, trunk', 'in a batch'],
      ['ctr', '0.125', '0.5', '1'], ['gates', '0.875', '0.5', '–']]


def test_values_that_are_no_numbers(tmp_path):
  """null where a record was not defined."""
  nulls = dict.fromkeys(record())
  page = page_of(tmp_path / 'run', in_lines([nulls, record(), nulls]), nulls)
  assert table(page, 'term')[1:] == [['ctr', '–', '–'], ['ctcvr', '–', '–']]
