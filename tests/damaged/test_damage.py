"""A damaged file gives the same numbers, or one line that names it."""

from tests.damaged import damage

import pytest

SAMPLE = [
    ('train, a new run', 'user.npy', damage.flip),
    ('train, going on', 'metrics.jsonl', damage.cut),
]


@pytest.fixture(scope='module')
def stage(tmp_path_factory):
  with damage.Stage(tmp_path_factory.mktemp('stage')) as stage:
    yield stage


@pytest.mark.long
@pytest.mark.parametrize('name, ending, harm', SAMPLE)
def test_some(name, ending, harm, stage):
  file = next(
      f for f in stage.files(damage.PROGRAMS[name][0])
      if f.endswith(ending) and '.config' not in f)
  case = stage.case(name, file, harm)
  assert case.fine and ending in case.said, case


@pytest.mark.long
@pytest.mark.parametrize('name', damage.PROGRAMS)
def test_every_file(name, stage):
  """Each in one way, the next one in the next; `tests.damaged.damage` does
  all."""
  files = stage.files(damage.PROGRAMS[name][0])
  cases = [
      stage.case(name, file, damage.HARMS[k % len(damage.HARMS)])
      for k, file in enumerate(files)]
  wrong = [case for case in cases if case and not case.fine]
  assert len(cases) > 20 and not wrong
