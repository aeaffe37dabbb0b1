"""The text of `dataset.history`: what it says, and what it refuses."""

from esmm_jax.data.history import language, spans, specs
from esmm_jax.data.history.encode import check_names
from esmm_jax.data.history.specs import Counter, Entries, Session
from esmm_jax.tasks import CLICK, FUNNEL, Task
from esmm_jax.types import InputError
from hypothesis import given, Phase, settings, strategies as st
import pytest

MINUTES, DAY = spans.parse('10m'), spans.parse('1d')
ALL = ('impressions', 'click', 'conversion')


@pytest.mark.parametrize('text, spec', [
    ('user', Counter(('user',), amounts=ALL)),
    (' user : delay = 10m : last = 3 ',
     Counter(('user',), MINUTES, ALL, last=3)),
    ('user+tab:delay=2d:window=7d',
     Counter(('user', 'tab'), spans.parse('2d'), ALL, spans.parse('7d'))),
    ('user:half_life=36h:form=float:strength=5',
     Counter(('user',), DAY, ALL, half_life=spans.parse('36h'), form='float',
             strength=5.0)),
    ('user:amounts=clicks+watched',
     Counter(('user',), amounts=('click', 'watched'))),
    ('user:amounts="clicks"+"a+b"',
     Counter(('user',), amounts=('clicks', 'a+b'))),
    ('user:amounts=carts', Counter(('user',), amounts=('carts',))),
    ('user:amounts=none:last=1', Counter(('user',), last=1)),
    ('"user id"+\'a,b:c\'', Counter(('user id', 'a,b:c'), amounts=ALL)),
    ('"a=b"', Counter(('a=b',), amounts=ALL)),
    ('session=user', Session(('user',), spans.parse('30m'))),
    ('session=user+tab:pause=90s:form=bucket',
     Session(('user', 'tab'), spans.parse('90s'), 'bucket')),
    ('list=item:by=user', Entries('item', ('user',))),
    ('list="a:b":by="c,d"+e:last=5:of=clicks:delay=10m',
     Entries('a:b', ('c,d', 'e'), MINUTES, 5, 'click')),
    ('list=item:by=user:of=all', Entries('item', ('user',)))])
def test_parts(text, spec):
  assert language.parse(text) == (spec,)


def test_several_parts_and_what_they_share():
  parts = language.parse('user,,session=user:form=both,"user":delay=1h,',
                         ('buy',), form='float', strength=7.0)
  assert [type(part) for part in parts] == [Counter, Session, Counter]
  assert [part.form for part in parts] == ['float', 'both', 'float']
  assert parts[0].strength == 7.0 and parts[0].amounts == ('impressions', 'buy')
  assert language.parse('') == ()
  assert specs.columns(language.parse('a+b,session=b,list=c:by=d')) == [
      'a', 'b', 'd', 'c']


@pytest.mark.parametrize('text, words', [
    ('user:delay=10', "'user:delay=10': '10' is no length of time; write"),
    ('user:delay=0m', 'a whole number above 0'),
    ('user:delay=1.5h', 'no length of time'), ('user:delay=-1h', 'above 0'),
    ('user:delay=1w', 'unit of ms, s, m, h, d'),
    ('user:delay=' + '9' * 5000 + 'd', 'no length of time'),
    ('user:delay=36501d', 'longer than a hundred years; write a shorter'),
    ('user:delya=10m', "'delya' is no option here. Did you mean 'delay'"),
    ('user:last', "'last' is no option; write KEY=VALUE, or put a name"),
    ('user:last=', "'last=' is no option; write KEY=VALUE"),
    ('user:=3', "'=3' is no option; write KEY=VALUE"),
    ('user:last=3:last=4', "'last' is set twice; set it once"),
    ('user:last=3.5', "last is '3.5', which is no whole number"),
    ('user:last=101', r'last is 101; it must be a whole number in \[0, 100\]'),
    ('user:strength=0', r'strength is 0.0; it must be a number in \[1e-06,'),
    ('user:strength=nan', 'strength is nan; it must'),
    ('user:strength=many', "strength is 'many', which is no number"),
    ('user:form=floats', "form is 'floats'.* Did you mean 'float'"),
    ('user:window=1d:half_life=1d', 'both set; choose one'),
    ('user:window=6h', 'delay=1d is by day; the window must be whole days'),
    ('user:amounts=none', 'leave nothing; leave it out'),
    ('user:amounts=clicks+click', "amounts names 'click' twice; write it once"),
    ('user:amounts=clicks+', 'lacks a name in the amounts; write one'),
    ('user+', "'user.' lacks a name in the key; write one on each side"),
    ('user++tab', 'lacks a name in the key'), ('+user', 'lacks a name'),
    ('user+user', "the key names 'user' twice; write it once"),
    ('user/x', "column 'user/x' has a /.*rename it"), ('""', 'empty; write'),
    ('sesion=user', "'sesion=user' is no key. Did you mean 'session'"),
    ('delay=10m', "'delay=10m' is no key.*session.* in quotes"),
    (':delay=10m', "'delay=10m' is no key"),
    ('session=', "lacks a name in the key"),
    ('session=user:delay=10m', "'delay' is no option here.*pause"),
    ('list=item', 'the list has no key; write by=user'),
    ('list=:by=user', 'the name of a column is empty; write one'),
    ('list=a/b:by=user', "column 'a/b' has a /"),
    ('list=item:by=user:of=carts', "of is 'carts'.*There are: all, click"),
    ('list=item:by=user:last=0', r'last is 0; .*\[1, 1000\]'),
    ('list=item:by=user:window=1d', "'window' is no option here.*by"),
    ('user,"tab', ".* a quote \" is not closed"),
    ('user,user', "'user' makes columns that an earlier part makes too,"
     " 'past_count_user'; write"),
    (',', "',' names no key; write one, 'user' say"),
    (' ', "' ' names no key"),
    ('user:delay=60s,user:delay=1m:last=1', "'user:delay=1m:last=1' makes"),
    ('session=u:pause=30m,session=u:pause=1800s', 'session=u:pause=1800s'),
    ('list=i:by=u,list=i:by=u:last=3', "'list=i:by=u:last=3' makes"),
    # Names that are put together to the same one.
    ('user:delay=10m,user_10m', "'past_count_user_10m'"),
    ('list=1:by=u,u:last=1', "'last_age_1_u'"),
    ('list=age_i:by=u,list=i:by=u', "'last_age_i_u'"),
    ('c:amounts=a_b,b_c:amounts=a', "'past_mean_a_b_c'"),
    ('"u+t",u+t', "'past_count_u.t'"),
    ('u:form=float:delay=2d,u_2d_bucket:form=float,u_2d:form=bucket',
     "'past_count_u_2d_bucket'")])
def test_refused(text, words):
  with pytest.raises(InputError, match=f'(?s)^dataset.history: .*{words}'):
    language.parse(text)


def test_a_calendar_day_is_not_24_hours():
  one, other = language.parse('user,user:delay=24h')
  assert one.delay.ns == other.delay.ns and one.suffix != other.suffix


@pytest.mark.parametrize('text, words', [
    ('', ''), ('user,item:delay=2d,list=i:by=user', 'nightly'),
    ('user,user:delay=10m,item:delay=1h', 'live, delay 10m'),
    ('user:delay=24h', 'live, delay 24h'),
    ('user:delay=1h,list=i:by=u:delay=90s', 'live, delay 90s'),
    ('session=user', 'live, sessions'),
    ('user,session=user', 'live, delay 1d, sessions'),
    ('user,user:delay=24h', 'live, delay 24h'),
    ('user:delay=10m,session=user', 'live, delay 10m, sessions')])
def test_protocol(text, words):
  assert specs.protocol(language.parse(text)) == words


@pytest.mark.parametrize('text, tasks, name', [
    ('u', (CLICK, Task('count', 'conversion', 'ctr')), 'past_count_u'),
    ('u:amounts=clicks+a', (Task('mean_a', 'click'),), 'past_mean_a_u')])
def test_names_of_tasks_may_collide(text, tasks, name):
  some = language.parse(text, [task.label for task in tasks])
  with pytest.raises(InputError, match=f'two columns of the name {name!r}; re'):
    check_names(some, tasks)
  check_names(language.parse('u,u:delay=1h:last=2,session=u'), FUNNEL)


names = st.text('abz_ ,:+\'"=é', min_size=1, max_size=6).filter(
    lambda name: name.strip())
lengths = st.builds('{}{}'.format, st.integers(1, 999),
                    st.sampled_from(['ms', 's', 'm', 'h', 'd']))
keys = st.lists(names, min_size=1, max_size=3, unique=True)


def quoted(name):
  doubled = name.replace('"', '""')
  return f'"{doubled}"'


def joined(some):
  return '+'.join(map(quoted, some))


@settings(max_examples=60, phases=[Phase.generate])
@given(key=keys, delay=lengths, last=st.integers(0, 100),
       strength=st.floats(1e-6, 1e9), form=st.sampled_from(specs.FORMS),
       amounts=keys, half_life=st.none() | lengths)
def test_counters_there_and_back(
    key, delay, last, strength, form, amounts, half_life):
  text = (f'{joined(key)}:delay={delay}:last={last}:form={form}'
          f':strength={strength!r}:amounts={joined(amounts)}')
  text += f':half_life={half_life}' if half_life else ''
  assert language.parse(text) == (Counter(
      tuple(key), spans.parse(delay), tuple(amounts), None,
      spans.parse(half_life) if half_life else None, last, form, strength),)


@settings(max_examples=60, phases=[Phase.generate])
@given(column=names, key=keys, length=lengths, last=st.integers(1, 1000),
       only=st.sampled_from(['', 'click', 'conversion']))
def test_lists_and_sessions_there_and_back(column, key, length, last, only):
  text = (f'session={joined(key)}:pause={length},list={quoted(column)}'
          f':by={joined(key)}:delay={length}:last={last}:of={only or "all"}')
  span = spans.parse(length)
  assert language.parse(text) == (
      Session(tuple(key), span), Entries(column, tuple(key), span, last, only))


@given(st.text('user+:=,"\'10mhd last delay session list by of', max_size=40))
def test_any_text_is_parsed_or_refused_by_name(text):
  try:
    some = language.parse(text)
  except InputError as e:
    assert str(e).startswith('dataset.history: ')
  else:
    assert all(spec.key and all(spec.key) for spec in some)


@given(st.integers(1, 10**5), st.sampled_from(['ms', 's', 'm', 'h']))
def test_spans(num, unit):
  span = spans.parse(f' {num}{unit} ')
  assert span.text == str(span) == f'{num}{unit}' and span.days == 0
  assert span.ns == num * {'ms': 10**6, 's': 10**9, 'm': 60 * 10**9,
                           'h': 3600 * 10**9}[unit]
  assert spans.parse(f'{num % 36_500 + 1}d').days == num % 36_500 + 1
