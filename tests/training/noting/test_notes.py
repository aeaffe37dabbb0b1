"""Learning rate and gradient norm of the last step, and the config."""

import json
import types

from esmm_jax.configs import esmm
from esmm_jax.json_files import read_json, read_jsonl
from esmm_jax.optim.network import schedule, ScheduleOptions
from esmm_jax.parallel.layout import Layout
from esmm_jax.tracking import Tracker, TRACKERS, using
from esmm_jax.training.loop import train_replicas
from esmm_jax.training.noting import notes
import jax
import numpy as np
import pytest

from tests.training.test_step import make_batch, make_hyper, make_plan
from tests.training.test_step import parameters, start, steps

pytestmark = [
    pytest.mark.slow, pytest.mark.usefixtures('quick_compilation')]

RATES = (0.5, 0.125)


def noting(plan):
  layout = Layout(devices=jax.devices()[:1])
  with using('', gradient_norm=True):
    return notes.begun(start(plan, seeds=(0, 1)), layout)


def moved(before, after, r, rate):
  """|p - q| / rate of one replica: SGD moves by the gradient."""
  total = 0.0
  for name in ('table', 'net'):
    axis = 1 if name == 'table' else 0
    for p, q in zip(
        jax.tree.leaves(parameters(before)[name]),
        jax.tree.leaves(parameters(after)[name]), strict=True):
      p, q = (np.take(np.asarray(x, np.float64), r, axis) for x in (p, q))
      total += ((p - q) ** 2).sum()
  return np.sqrt(total) / rate


@pytest.mark.parametrize('clip', [
    0.0, pytest.param(0.01, marks=pytest.mark.long)])
def test_the_norm_is_that_of_the_whole_gradient(clip):
  """Of each replica, before it is clipped; of network and touched rows."""
  whole, clipped = make_plan(), make_plan(clip_norm=clip)
  before = noting(whole)
  far = steps(whole, before, make_hyper(RATES), [make_batch(0)])
  after = far
  if clip:
    after = steps(clipped, before, make_hyper(RATES), [make_batch(0)])
  for r, rate in enumerate(RATES):
    norm = moved(before, far, r, rate)
    np.testing.assert_allclose(after.noted['gradient_norm'][r], norm, 1e-5)
    if clip:  # The step itself is.
      assert norm > 10 * clip
      np.testing.assert_allclose(moved(before, after, r, rate), clip, 1e-3)


def test_the_rate_is_that_of_the_last_step():
  form = ScheduleOptions(name='cosine', warmup_steps=2, end_factor=0.1)
  program = types.SimpleNamespace(
      plan=make_plan()._replace(schedule=schedule(form, 6)),
      hyper=make_hyper(RATES))
  told = lambda step: notes.of_report(
      program, types.SimpleNamespace(step=step, noted=None))
  assert told(0) == {}
  for k, factor in enumerate([1 / 3, 2 / 3, 1.0, 0.1 + 0.9 * 0.75]):
    np.testing.assert_allclose(
        told(k + 1)['learning_rate'], factor * np.array(RATES), 1e-6)


class Kept(Tracker):
  """Keeps what it is told."""

  runs = {}

  def start(self, run):
    self.told = self.runs[run.name] = [run.config, run.group]
    return run.name

  def write(self, step, metrics):
    self.told.append((step, metrics))

  def close(self, results):
    self.told.append(results)


@pytest.mark.long
def test_replicas_in_all_that_follows_them(tmp_path):
  """Each replica's own numbers; none of results.json or a checkpoint is new."""
  configs = []
  for rate in (1e-2, 1e-3):
    configs.append(esmm.get_config('smoke'))
    configs[-1].dataset.num_train = 4096
    configs[-1].dataset.num_valid = configs[-1].dataset.num_test = 1024
    configs[-1].learning_rate = rate
  names, TRACKERS['kept'] = ('a', 'b'), Kept
  try:
    with using('kept', 'sweep', gradient_norm=True):
      ends = train_replicas(
          configs, [str(tmp_path / n) for n in names], str(tmp_path / 'data'),
          str(tmp_path / 'home'))
  finally:
    del TRACKERS['kept']
  norms = []
  for name, config, end in zip(names, configs, ends, strict=True):
    lines = [
        line for line in read_jsonl(str(tmp_path / name / 'metrics.jsonl'))
        if 'train/loss' in line]
    assert lines and end['traces'] == 1
    norms.append([line['train/gradient_norm'] for line in lines])
    assert all(n > 0 for n in norms[-1])
    rate = float(np.float32(config.learning_rate))
    assert [x['train/learning_rate'] for x in lines] == [rate] * len(lines)
    saved = read_json(str(tmp_path / name / 'results.json'))
    assert not {'train/learning_rate', 'train/gradient_norm'} & saved.keys()
    told_config, group, *told, results = Kept.runs[name]
    assert told_config['learning_rate'] == config.learning_rate
    assert group == 'sweep' and results['test/ctr/auc'] == saved['test/ctr/auc']
    assert told == [
        (line['step'], {
            k: v for k, v in line.items()
            if k.startswith(('train/', 'valid/')) and v is not None
            and k != 'train/batch_hash'})
        for line in lines]
    metadata = (tmp_path / name / 'checkpoints').rglob('_METADATA')
    texts = [json.dumps(json.loads(p.read_text('utf-8'))) for p in metadata]
    assert texts and not any('noted' in text for text in texts)
  assert norms[0] != norms[1]
