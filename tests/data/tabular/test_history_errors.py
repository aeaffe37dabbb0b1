"""Refusals of `dataset.history`: one line that says what to do."""

from esmm_jax.data.tabular.config import TabularConfig
from esmm_jax.data.tabular.dataset import Tabular
from esmm_jax.types import InputError
import pyarrow as pa
import pytest

from tests.data.tabular.test_history import prepared, random_log, START, write

GOOD = dict(
    files='log.csv', id='user,item', ids='tags', float='price', split='time',
    time='time', history='user')
# Options -> a part of the message.
OPTIONS = {
    'no time': (
        dict(time='', split='column', split_column='p'),
        'needs the time of each row; name its column with dataset.time'),
    'random': (
        dict(split='random'),
        "labels of the test split. Set dataset.split='time'"),
    'a form alone': (
        dict(history='', history_form='float'),
        'dataset.history_form is set, but dataset.history is empty'),
    'a request alone': (
        dict(history='', history_request='r'),
        'dataset.history_request is set'),
    'no key': (dict(history=','), "',' names no key"),
    'a label as request': (
        dict(history_request='click'),
        "dataset.history_request names 'click', which is the label click"),
    'a compared label as request': (
        dict(conversion='seconds>30', history_request='seconds'),
        "dataset.history_request names 'seconds', which is the label conver"),
    'form': (dict(history_form='floats'), 'dataset.history_form'),
    'strength': (dict(history_strength=0.0), 'dataset.history_strength'),
    'a label': (
        dict(history='click'), "the key 'click' is the label click, which is"),
    'a label of another name': (
        dict(click='clicked', history='user+clicked'),
        "the key 'clicked' is the label click"),
    'time as key': (dict(history='time'), "'time' is the time of the rows"),
    'a list joined': (
        dict(history='user+tags'), "a list is a key by itself only: 'tags'"),
    'last of a list': (
        dict(history='tags:last=2'), "a row has several 'tags'"),
    'session of a list': (
        dict(history='session=tags'), "a row has several 'tags'"),
    'list by a list': (
        dict(history='list=item:by=tags'), "a row has several 'tags'"),
    'list of no input': (
        dict(history='list=tab:by=user'),
        "the list of 'tab' shares the table of that column, which dataset.id"),
    'list of a list': (
        dict(history='list=tags:by=user'), 'which dataset.id does not name'),
    'amounts of a label column': (
        dict(click='clicked', history='user:amounts=clicked'),
        "'clicked', which is the column of the label click; write amounts=cli"),
    'amounts of time': (
        dict(history='user:amounts=time'), "'time', the time of the rows"),
    'clash': (
        dict(float='past_ctr_user', history_form='float'),
        "creates a column 'past_ctr_user', but the log has a column of"),
    'language': (dict(history='user:delay=ten'), "'user:delay=ten'"),
}


@pytest.mark.parametrize('case', OPTIONS)
def test_options(case):
  more, words = OPTIONS[case]
  with pytest.raises(InputError) as e:
    TabularConfig(**GOOD | more)
  assert words in str(e.value) and '\n' not in str(e.value)


def days(time):
  return [20220401 + t // 86_400_000 - START // 86_400_000 for t in time]


LIVE = dict(history='user:delay=10m')
# Changes of columns -> options, a part of the message.
ROWS = {
    'days and a short delay': (
        dict(time=days), LIVE,
        "column 'time' holds days and no time of the day, and dataset.history"
        ' asks for 10m'),
    'midnights': (
        dict(time=lambda t: [x // 86_400_000 * 86_400 for x in t]), LIVE,
        'holds days and no time of the day'),
    'days and a session': (
        dict(time=days), dict(history='session=user:pause=1h'), 'asks for 1h'),
    'numbers that are no times': (
        dict(time=lambda t: list(range(len(t)))), {},
        'holds numbers like 0, which are no times that are known'),
    'months': (
        dict(time=lambda t: [202204 + k % 3 for k in range(len(t))]), {},
        'which are no times that are known'),
    'a zone of dates': (
        dict(time=lambda t: [f'2022-04-0{1 + k % 5} 10:0{k % 7}'
                             for k in range(len(t))]),
        dict(history_zone='+08:00'), 'dates without a zone'),
    'a zone of written days': (
        dict(time=days), dict(history_zone='+08:00'), 'leave'),
    'an unknown zone': (
        {}, dict(history_zone='Asia/Nowhere'),
        "the zone 'Asia/Nowhere' is not known here"),
    'several offsets': (
        dict(time=lambda t: [f'2022-04-0{1 + k % 5}T10:00:00+0{k % 2}:00'
                             for k in range(len(t))]), {},
        "dataset.history_zone in which zone they begin"),
    'no such key': ({}, dict(history='usr'), "'usr'"),
    'no such number': ({}, dict(history='user:amounts=prize'), "'prize'"),
    'a missing number': (
        dict(price=lambda p: [*p[:5], None, *p[6:]]),
        dict(history='user:amounts=price'),
        "column 'price' is None; it must be a number up to 1e+09, in every"),
    'a large number': (
        dict(price=lambda p: [*p[:5], 2e9, *p[6:]]),
        dict(history='user:amounts=price'), 'column \'price\' is 2000000000.0'),
    'a fraction as key': ({}, dict(history='price'), "'price'"),
    'no time in a row': (
        dict(time=lambda t: [*t[:7], None, *t[8:]]), {}, 'row 7'),
}


@pytest.mark.parametrize('case', ROWS)
def test_rows(case, tmp_path):
  changes, more, words = ROWS[case]
  log = random_log(num=60)
  for name, change in changes.items():
    log[name] = pa.array(change(log[name]))
  path = write(log, tmp_path / 'log.parquet')
  options = dict(id='user,item', history='user', history_form='both')
  with pytest.raises(InputError) as e:
    prepared(tmp_path, path, **options | more)
  assert words in str(e.value) and '\n' not in str(e.value)


def test_another_history_than_that_of_the_run_that_grows(tmp_path):
  log = random_log(num=80)
  path = write(log, tmp_path / 'log.parquet')
  data = prepared(tmp_path, path, history='user')
  run = data.encoder_folder.rpartition('/')[0]
  says = 'that run has another history, but dataset.history is'
  for history in ('item', 'user:strength=5'):
    with pytest.raises(InputError, match=says):
      prepared(tmp_path, path, history=history, vocabulary_of=run)
  without = dict(
      id='user,item', ids='tags', split='time', time='time', min_count=1)
  old = Tabular.from_options(
      str(tmp_path / 'data'), files=path, **without).prepare()
  run = old.encoder_folder.rpartition('/')[0]
  with pytest.raises(InputError, match='that run has no history, but'):
    prepared(tmp_path, path, history='user', vocabulary_of=run)
