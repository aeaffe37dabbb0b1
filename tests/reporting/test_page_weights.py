"""What a page says of row weights, and of bias by decile of the true CTR."""

from esmm_jax.reporting import plots
from esmm_jax.reporting.page import parts, run_page
import pytest

from tests.reporting.test_page import CONFIG, Page, RESULTS, write_run

WEIGHTS = {
    'test/cvr_clicked/ess': 1234.56,
    'test/cvr_clicked/ess_share': 0.25,
    'test/cvr_clicked/weight_max': 100.0,
    'test/cvr_clicked/at_floor': 0.125,
}
# On a log without truth: the term has the name of a space that is not there.
ENTIRE = {
    f'{split}/cvr_entire/{name}': value / scale
    for split, scale in (('test', 1), ('valid', 2))
    for name, value in zip(
        ('ess', 'ess_share', 'weight_max', 'at_floor'),
        (50.0, 0.0876, 64.0, 0.0))
}
NO_TRUTH = {k: v for k, v in RESULTS.items() if '_entire' not in k}
BIASES = {
    f'test/cvr_entire/bias_ctr_decile_{d}': 0.02 - d / 400
    for d in range(1, 11)
} | {'test/cvr_entire/bias_ctr_decile_largest': 0.0175}
HEADERS = ['split', 'term', 'CTR calib.', 'eff. rows', 'share', 'largest',
           'at floor']


def page_of(folder, results, **options):
  config = CONFIG | {'estimator_options': options}
  skip = ('predictions', 'calibration.json', 'metrics.jsonl')
  made = run_page.make(write_run(folder, skip, config, results))
  return Page(parts.render(made))


def table(page, first):
  return next((t for t in page.tables if t[0][0] == first), None)


def test_the_weights_stand_beside_the_calibration_of_ctr(tmp_path):
  page = page_of(tmp_path / 'run', RESULTS | WEIGHTS)
  assert table(page, 'split') == [
      HEADERS,
      ['test', 'cvr_clicked', '1.2500', '1,234.6', '25.0 %', '100', '12.5 %'],
  ]
  for text in (
      'effective sample size, (Σw)² / Σw²', 'largest weight of a clicked row',
      'share of the clicked rows at the floor', 'predicted clicks over'):
    assert text in page.words
  assert 'Few rows carry' not in page.words
  # The table of the spaces is as it was.
  without = page_of(tmp_path / 'other', RESULTS)
  assert page.tables[:2] == without.tables[:2]
  assert 'Weights of clicked rows' not in without.words


def test_few_effective_rows_are_said_in_a_line(tmp_path):
  page = page_of(tmp_path / 'run', NO_TRUTH | ENTIRE)
  assert table(page, 'split')[1:] == [
      ['test', 'cvr_entire', '1.2500', '50.0', '8.8 %', '64', '0.0 %'],
      ['valid', 'cvr_entire', '–', '25.0', '4.4 %', '32', '0.0 %'],
  ]
  assert ('the effective sample size is 8.8 % (test, cvr_entire), 4.4 % (valid,'
          ' cvr_entire) of the clicked rows, below 10 %.') in page.words
  # A term is no space: there is no truth here.
  assert 'true probability' not in page.words


@pytest.mark.parametrize('propensity, said', [
    ('frozen', True), ('own', False), (None, False)])
def test_a_frozen_propensity_has_no_weights_of_a_split(
    propensity, said, tmp_path):
  page = page_of(tmp_path / 'run', RESULTS, propensity=propensity)
  assert table(page, 'split') is None
  assert ('which the training rows alone have' in page.words) == said


def test_weights_that_are_no_numbers(tmp_path):
  """Without a clicked row: null in results.json."""
  page = page_of(tmp_path / 'run', RESULTS | dict.fromkeys(WEIGHTS))
  assert table(page, 'split')[1][3:] == ['–'] * 4
  assert 'Few rows carry' not in page.words


@pytest.mark.parametrize('biases', [{}, BIASES])
def test_bias_by_decile(biases, tmp_path):
  """Ratio 2 - d / 10, difference .02 - d / 400; results of old have none."""
  page = page_of(tmp_path / 'run', RESULTS | biases)
  rows = table(page, 'tenth by true CTR')
  assert len(rows) == 11
  assert rows[1] == ['1', '1.9000', '+0.017500'][: 3 if biases else 2]
  assert rows[9] == ['9', '1.1000', '-0.002500'][: 3 if biases else 2]
  assert ('without its sign: 0.017500' in page.words) == bool(biases)


def test_the_picture_has_the_difference_where_all_runs_have_it(tmp_path):
  sizes = []
  for runs in ({'old': RESULTS}, {'new': RESULTS | BIASES},
               {'new': RESULTS | BIASES, 'old': RESULTS}):
    path = tmp_path / 'x.png'
    plots.cvr_by_ctr_decile(runs, str(path), 'Deciles')
    data = path.read_bytes()
    sizes.append(int.from_bytes(data[16:20], 'big'))  # Pixels across.
  assert sizes == [1125, 1800, 1125]
