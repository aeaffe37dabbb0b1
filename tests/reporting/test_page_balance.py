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
