"""An export and its server, shared by the tests of this folder."""

import json
import signal

import esmm_jax
from esmm_jax.serving import exporting
from esmm_jax.training.loop import train_and_evaluate
import pytest

from tests.serving.kit.processes import Exported, started
from tests.warm_start import days


@pytest.fixture(scope='package')
def exported(tmp_path_factory):
  folder = tmp_path_factory.mktemp('kit')
  train_and_evaluate(
      days.config(''), str(folder / 'run'), str(folder / 'data'),
      log=days.day(1))
  predictor = esmm_jax.load(str(folder / 'run'))
  exporting.export(predictor, str(folder / 'exported'))
  rows = days.day(2, 1100).select(predictor.names).to_pylist()
  (folder / 'rows.json').write_text(json.dumps({'rows': rows}))
  return Exported(folder, predictor, rows)


@pytest.fixture(scope='package')
def running(exported):
  with started(exported, 'errors.txt') as running:
    yield running
    running.process.send_signal(signal.SIGTERM)
    assert running.process.wait(60) == 0
