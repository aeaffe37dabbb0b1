"""Any shape of labels goes through every program, or is refused in one line.

A shape is what labels a log has: clicks alone, a log of clicks, parallel
events, a number, a comparison, unknown conversions, weights, carts.
"""

import functools
import importlib
import json
import os

from esmm_jax.estimators import ESTIMATORS
from esmm_jax.json_files import read_json
from esmm_jax.models import MODELS
from esmm_jax.reporting.page import parts as pages
from esmm_jax.reporting.page import meanings, run_page
from esmm_jax.serving import calibrate, exporting, predictor
from esmm_jax.tasks import spaces
from esmm_jax.training import parts, program
from esmm_jax.training.loop import train_and_evaluate
from esmm_jax.training.settings import Settings
from esmm_jax.types import Batch, InputError
from experiments import console, load
import jax
import numpy as np
from pyarrow import parquet
import pyarrow as pa
import pytest

CTR, CVR = {'p_ctr'}, {'p_cvr'}
BOTH = CTR | CVR | {'p_ctcvr'}
# Options -> the columns of scores.
SHAPES = {
    'funnel': ({}, BOTH),
    'clicks only': ({'conversion': ''}, CTR),
    'log of clicks': ({'click': '', 'files': 'clicks'}, CVR),
    'parallel': (
        {'labels': 'like:after=click,share'},
        BOTH | {'p_like', 'p_ctlike', 'p_share'}),
    'no click': (
        {'click': '', 'conversion': '', 'labels': 'like,share'},
        {'p_like', 'p_share'}),
    'number': (
        {'conversion': '', 'labels': 'watch:after=click:kind=regression',
         'unknown_conversion': 'zero'},
        CTR | {'predicted_watch', 'predicted_ctwatch'}),
    'comparison': (
        {'click': 'rating>=3', 'conversion': 'action==buy',
         'conversion_without_click': 'keep'}, BOTH),
    'unknown': (
        {'conversion': 'bought_or_null', 'unknown_conversion': 'zero'}, BOTH),
    'weights': ({'weight': 'w'}, BOTH),
    'cart': (
        {'cart': 'carted'}, BOTH | {'p_atr', 'p_ctatr', 'p_ptr'}),
}
# Shapes that every program is tried on each time; the others are long.
OFTEN = ('log of clicks',)


def log(num=3000):
  """A log in which the item decides."""
  rng = np.random.default_rng(0)
  item = rng.integers(0, 20, num)
  click = rng.random(num) < 0.2 + 0.02 * item
  buy = click & (rng.random(num) < 0.2 + 0.02 * item)
  watch = np.where(click, rng.random(num) + 0.1 * item, np.nan)
  return pa.table({
      'user': rng.integers(0, 100, num), 'item': item,
      'clicked': click.astype(int), 'bought': buy.astype(int),
      'carted': (buy | click & (rng.random(num) < 0.4)).astype(int),
      'like': (click & (rng.random(num) < 0.3)).astype(int),
      'share': (rng.random(num) < 0.1).astype(int),
      'watch': pa.array(watch, from_pandas=True),
      'rating': rng.integers(1, 6, num),
      'action': ['buy' if b else 'view' for b in buy],
      'bought_or_null': [int(b) if c else None for b, c in zip(buy, click)],
      'w': rng.random(num)})


@pytest.fixture(scope='module')
def home(tmp_path_factory):
  folder = tmp_path_factory.mktemp('labels')
  whole = log()
  parquet.write_table(whole, folder / 'log.parquet')
  clicks = whole.filter(pa.array(whole['clicked'].to_numpy() == 1))
  parquet.write_table(clicks, folder / 'clicks.parquet')
  return folder


def config_of(home, shape, name='esmm', **more):
  config = importlib.import_module(f'configs.{name}').get_config('tabular')
  options = dict(SHAPES[shape][0])
  file = options.pop('files', 'log')
  config.dataset.update(
      files=str(home / f'{file}.parquet'), id='user,item', group='user')
  config.dataset.update(click='clicked', conversion='bought')
  config.dataset.update(options)
  config.update(batch_size=256, learning_rate=1e-2)
  config.run.update(save_predictions=True, eval_batch_size=1024)
  config.model.embed_dim = 4
  for key in ('tower_units', 'expert_units', 'shared_units'):
    if key in config.model:
      config.model[key] = (8,)
  config.selection.metric = ''
  config.update_from_flattened_dict(more)
  return config


def schema_of(home, shape):
  config = config_of(home, shape)
  return parts.data_builder(config.dataset, str(home / 'none')).schema


# What is refused, before the log is read.


# Estimators that want CVR as the event right after the click.
CVR_AFTER_CTR = (
    'unbias', 'ips', 'escm2', 'doubly_robust', 'stable_dr', 'nise', 'dcmt',
    'chorus', 'pseudo_label',
    *(name for name in ESTIMATORS if name.startswith('delayed_')))


@functools.cache
def needs(estimator):
  """The tasks without which an estimator is refused; `truth` no log has."""
  tasks = {'ctr', 'cvr'} if estimator in CVR_AFTER_CTR else set()
  columns = ESTIMATORS[estimator].needs
  return tasks | ({'truth'} if columns and columns().truth_labels else set())


@pytest.mark.parametrize('shape', SHAPES)
def test_estimators_are_refused_before_the_log_is_read(shape, home):
  schema = schema_of(home, shape)
  tasks = {t.name for t in schema.tasks}
  for name in ESTIMATORS:
    config = config_of(home, shape)
    config.estimator = name
    config.dataset.files = 'absent.parquet'
    fits = needs(name) <= tasks and not (
        name in CVR_AFTER_CTR and 'atr' in tasks)
    # The file that is not there is the first that is wrong.
    words = 'absent.parquet: there is no' if fits else f"estimator='{name}' nee"
    with pytest.raises(InputError, match=words):
      program.program([Settings.read(config)], str(home / 'none'))


@pytest.mark.parametrize('changes, words', [
    ({'loss_weights.ctr': 1.0}, r"loss_weights.ctr is 1.0.*\['cvr_clicked'\]"),
    ({'sampling.unclicked_rate': 0.1}, 'sampling acts on the loss cvr_clicked'),
    ({'common_ctr': '.'}, r"common_ctr needs a .*\['conversion'\]; leave"),
    ({'dataset.tasks': ('ctr',)}, "dataset.tasks names 'ctr'"),
    ({'model.dropout': 2.0}, 'model.dropout is 2.0'),
])
def test_a_log_of_clicks_refuses(changes, words, home):
  config = config_of(home, 'log of clicks', 'base', **changes)
  config.dataset.files = 'absent.parquet'
  with pytest.raises(InputError, match=words):
    program.program([Settings.read(config)], str(home / 'none'))


def test_relations_between_other_tasks(home):
  config = config_of(home, 'clicks only', 'dbmtl')
  config.model.relations = ('ctr -> cvr',)
  config.dataset.files = 'absent.parquet'
  with pytest.raises(InputError, match="model.relations .* 'cvr' is no task"):
    program.program([Settings.read(config)], str(home / 'none'))


@pytest.mark.parametrize('shape', SHAPES)
@pytest.mark.parametrize('name', [
    m if m in ('shared_embedding', 'single_task') else
    pytest.param(m, marks=pytest.mark.long) for m in MODELS])
def test_every_model_has_an_output_for_each_task(shape, name, home):
  schema = schema_of(home, shape)
  schema = schema.with_vocab_sizes({'user': 5, 'item': 6})
  more = {k: (8,) for k in ('tower_units', 'expert_units', 'shared_units')
          if hasattr(MODELS[name], k)}
  model = MODELS[name](schema, **more)
  batch = Batch(
      np.zeros(0, np.int32), np.zeros((3, 2), np.int32), np.zeros((3, 0)),
      np.zeros((3, 0), np.float32), {}, np.ones(3, np.float32))
  table = np.zeros((11, 4 * model.num_tables), np.float32)
  outputs, _ = jax.eval_shape(
      model.init_with_output, jax.random.key(0), table, batch)
  assert {k: v.shape for k, v in outputs.items()} == {
      t.name: (3,) for t in schema.tasks}


@pytest.mark.parametrize('shape', SHAPES)
@pytest.mark.parametrize('name', ['entire_space', 'click_space', 'end_to_end'])
def test_terms_of_every_shape(shape, name, home):
  """Finite; and a single task has the plain loss over its rows."""
  tasks = schema_of(home, shape).tasks
  labels = {t.label: np.array([1.0, 0, 1, 0], np.float32) for t in tasks}
  logits = {t.name: np.array([0.5, -1, 2, 0], np.float32) for t in tasks}
  where = np.array([1, 1, 1, 0], np.float32)
  estimator = ESTIMATORS[name]
  terms = estimator.terms(logits, labels, where, tasks=tasks)
  assert set(terms) == set(estimator.weights(tasks))
  assert all(np.isfinite(total) for total, _ in terms.values())
  if len(tasks) == 1:
    key = spaces(tasks)[0].key
    expected = np.log1p(np.exp([-0.5, -1.0, -2.0])).sum()
    assert float(terms[key][0]) == pytest.approx(expected, rel=1e-6)
    assert float(terms[key][1]) == 3 and estimator.weights(tasks)[key] == 1


def test_loss_weights_of_terms_that_no_config_lists(home):
  tree = load.config('configs/esmm.py:tabular')
  load.set_key(tree, 'loss_weights.ctlike', 0.5)
  assert tree.loss_weights.ctlike == 0.5
  with pytest.raises(InputError, match='must be of type float'):
    load.set_key(tree, 'loss_weights.ctlike', 'x')
  # Only of one's own log: other terms are known.
  with pytest.raises(InputError, match="no key 'ctlike'"):
    load.set_key(load.config('configs/esmm.py:smoke'), 'loss_weights.ctlike', 1)
  config = config_of(home, 'parallel', **{'loss_weights.ctr': 2.0})
  config.loss_weights.ctlik = 0.5
  config.dataset.files = 'absent.parquet'
  with pytest.raises(InputError, match="ctlik is 0.5, .*'ctlike', 'ctr'"):
    program.program([Settings.read(config)], str(home / 'none'))


def test_what_a_page_says_of_them(home):
  meaning = functools.partial(
      meanings.of_space, tasks=schema_of(home, 'parallel').tasks)
  assert meaning('like_clicked') == 'like, over rows with click.'
  assert meaning('share') == 'share, over all rows.'
  assert meaning('ctr') == 'click, over all impressions.'
  assert meanings.of_space('like_clicked') == meaning('other') == ''


# Every program.


@pytest.mark.slow
@pytest.mark.usefixtures('quick_test')
@pytest.mark.parametrize('shape', [
    s if s in OFTEN else pytest.param(s, marks=pytest.mark.long)
    for s in SHAPES])
def test_every_program(shape, home, tmp_path, capsys):
  """Training, scores, calibration, the export, the page, the console."""
  config, run = config_of(home, shape), str(tmp_path / 'run')
  data_dir, columns = str(home / 'data'), SHAPES[shape][1]
  results = train_and_evaluate(config, run, data_dir)
  model = predictor.load(run, data_dir=data_dir)
  tasks = spaces(model.schema.tasks)
  for space in tasks:
    metric = 'auc' if space.kind == 'binary' else 'mse'
    assert np.isfinite(results[f'test/{space.key}/{metric}']), space
    assert np.isfinite(results[f'valid/{space.key}/{metric}']), space
  console.print_results({'mine': results})
  printed = capsys.readouterr().out
  assert all(f' {space.key} ' in printed for space in tasks)
  raw = log(50)
  scores = model.predict(raw)
  assert set(scores) == columns
  saved = parquet.read_table(os.path.join(run, 'predictions', 'test.parquet'))
  assert columns | set(model.schema.labels) <= set(saved.column_names)
  assert 'row_weight' not in saved.column_names
  fitted = calibrate.calibrate(run, data_dir)
  events = {s.key for s in tasks if s.kind == 'binary'}
  assert set(fitted['tasks']) == events
  calibrated = model.predict(raw, calibrated='platt')
  exporting.export(model, str(tmp_path / 'export'), calibrated='platt')
  about = read_json(str(tmp_path / 'export' / 'description.json'))
  assert {o['name'] for o in about['outputs']} == columns
  call, params = exporting.load(str(tmp_path / 'export'))
  ids = model.encode(raw, 'columns')
  exported = call(params, {k: np.asarray(v) for k, v in ids.items()})
  for name, values in calibrated.items():
    np.testing.assert_allclose(exported[name], values, rtol=1e-4, atol=1e-6)
  page = run_page.make(run)
  pages.write(page, str(tmp_path / 'page.html'))
  html = (tmp_path / 'page.html').read_text()
  assert all(space.key in html for space in tasks)
  assert json.dumps('nan') not in html


@pytest.mark.long
@pytest.mark.usefixtures('quick_test')
def test_weights_change_the_run_and_ones_do_not(home, tmp_path):
  """Resident, streamed, in parts, side by side: weights hold in each."""
  data_dir = str(home / 'data')

  def run(name, **more):
    config = config_of(home, 'funnel', **more)
    results = train_and_evaluate(config, str(tmp_path / name), data_dir)
    return {k: v for k, v in results.items() if k.startswith('test/')}

  whole = parquet.read_table(home / 'log.parquet')
  ones = whole.append_column('one', pa.array(np.ones(len(whole))))
  parquet.write_table(ones, home / 'ones.parquet')
  plain = run('plain')
  assert run('ones', **{
      'dataset.files': str(home / 'ones.parquet'), 'dataset.weight': 'one',
  }) == plain
  weighted = run('weighted', **{'dataset.weight': 'w'})
  assert weighted != plain
  resident = run('resident', **{
      'dataset.weight': 'w', 'run.device_resident': 'on'})
  assert resident == pytest.approx(weighted, rel=1e-5)
  parted = run('parted', **{'dataset.weight': 'w', 'run.micro_batches': 4})
  assert parted == pytest.approx(weighted, rel=1e-4)
