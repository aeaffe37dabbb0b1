"""Tasks: order, what is refused, and the sample spaces that follow."""

from esmm_jax.schema import Field, Schema
from esmm_jax.tasks import CART_FUNNEL, chain, CLICK, CONVERSION, FUNNEL
from esmm_jax.tasks import given_first, ordered, Space, spaces, Task
from esmm_jax.tasks import topological
from esmm_jax.types import InputError
import pytest

ATR, PTR = CART_FUNNEL[1:]
PLAY_TIME = Task('play_time', 'play_time', 'ctr', kind='regression')
BINARY, REGRESSION = 'binary', 'regression'


def names(tasks):
  return [t.name for t in tasks]


def test_names_that_follow_from_others():
  assert (CLICK.joint, CLICK.past) == ('ctr', 'clicked')
  assert (CONVERSION.joint, CONVERSION.past) == ('ctcvr', 'converted')
  assert (ATR.joint, ATR.past) == ('ctatr', 'carted')
  assert (PTR.joint, PTR.past) == ('ctcvr', 'converted')
  assert PLAY_TIME.joint == 'ctplay_time'


def test_a_kind_that_is_not_known():
  with pytest.raises(InputError, match="'cvr': kind 'ranking' is none of"):
    Task('cvr', 'conversion', 'ctr', kind='ranking')


# Order.


@pytest.mark.parametrize(
    'given, expected',
    [
        ((), []),
        ((CLICK,), ['ctr']),
        (FUNNEL, ['ctr', 'cvr']),
        ((CONVERSION, CLICK), ['ctr', 'cvr']),
        ((PTR, ATR, CLICK), ['ctr', 'atr', 'ptr']),
        ((ATR, PTR, CLICK), ['ctr', 'atr', 'ptr']),
        # Otherwise as given: play_time stands before cvr.
        ((PLAY_TIME, CONVERSION, CLICK), ['ctr', 'play_time', 'cvr']),
        ((*FUNNEL, PLAY_TIME), ['ctr', 'cvr', 'play_time']),
        # Two tasks without parent keep their places.
        (
            (Task('seen', 'seen'), CONVERSION, CLICK),
            ['seen', 'ctr', 'cvr'],
        ),
    ],
)
def test_parents_come_first(given, expected):
  assert names(ordered(given)) == expected
  assert names(ordered(iter(given))) == expected


@pytest.mark.parametrize(
    'tasks, words',
    [
        (
            (CLICK, Task('cvr', 'conversion', 'ctrr')),
            ["'cvr' comes after 'ctrr', which is no", "Did you mean 'ctr'?"],
        ),
        (
            (Task('a', 'x', 'b'), Task('b', 'y', 'a')),
            ['round in a circle', 'a <- b <- a', 'b <- a <- b'],
        ),
        ((Task('a', 'x', 'a'),), ['round in a circle', 'a <- a']),
        (
            (CLICK, Task('ctr', 'conversion')),
            ["Two tasks have the name 'ctr'"],
        ),
        (
            (CLICK, Task('cvr', 'click', 'ctr')),
            ["Two tasks have the label 'click'"],
        ),
        (
            (CLICK, PLAY_TIME, Task('cvr', 'conversion', 'play_time')),
            ["'cvr' comes after 'play_time'", 'regression', 'only an event'],
        ),
    ],
)
def test_tasks_that_make_no_funnel(tasks, words):
  """A circle may be written from any of its tasks; all else is as typed."""
  with pytest.raises(InputError) as e:
    ordered(tasks)
  message = str(e.value)
  circle = [w for w in words if '<-' in w]
  assert all(w in message for w in words if w not in circle), message
  assert not circle or any(w in message for w in circle), message
  with pytest.raises(InputError):
    Schema((Field('user', vocab_size=3),), tasks=tasks)


def test_topological_keeps_the_order_where_it_can():
  parents = {'d': ('b', 'c'), 'c': ('a',), 'b': ('a',), 'a': (), 'e': ()}
  assert topological(parents) == ['a', 'c', 'b', 'd', 'e']


# What leads where.


def test_chain():
  assert chain(CLICK, CART_FUNNEL) == (CLICK,)
  assert chain(ATR, CART_FUNNEL) == (CLICK, ATR)
  assert chain(PTR, CART_FUNNEL) == CART_FUNNEL
  assert chain(PLAY_TIME, (*FUNNEL, PLAY_TIME)) == (CLICK, PLAY_TIME)


def test_given_first():
  """Purchase given click has a name; the click alone and the cart have none."""
  assert [given_first(t, CART_FUNNEL) for t in CART_FUNNEL] == ['', '', 'cvr']
  assert [given_first(t, FUNNEL) for t in FUNNEL] == ['', '']


@pytest.mark.parametrize(
    'tasks, expected',
    [
        ((), []),
        ((CLICK,), [Space('ctr', 'ctr', 'click', '', BINARY)]),
        (
            FUNNEL,
            [
                Space('ctr', 'ctr', 'click', '', BINARY),
                Space('cvr_clicked', 'cvr', 'conversion', 'click', BINARY),
                Space('ctcvr', 'ctcvr', 'conversion', '', BINARY),
            ],
        ),
        (
            CART_FUNNEL,
            [
                Space('ctr', 'ctr', 'click', '', BINARY),
                Space('atr_clicked', 'atr', 'cart', 'click', BINARY),
                Space('ctatr', 'ctatr', 'cart', '', BINARY),
                Space('ptr_carted', 'ptr', 'conversion', 'cart', BINARY),
                Space('cvr_clicked', 'cvr', 'conversion', 'click', BINARY),
                Space('ctcvr', 'ctcvr', 'conversion', '', BINARY),
            ],
        ),
        (
            (*FUNNEL, PLAY_TIME),
            [
                Space('ctr', 'ctr', 'click', '', BINARY),
                Space('cvr_clicked', 'cvr', 'conversion', 'click', BINARY),
                Space('ctcvr', 'ctcvr', 'conversion', '', BINARY),
                Space(
                    'play_time_clicked',
                    'play_time',
                    'play_time',
                    'click',
                    REGRESSION,
                ),
                Space(
                    'ctplay_time', 'ctplay_time', 'play_time', '', REGRESSION
                ),
            ],
        ),
    ],
)
def test_spaces(tasks, expected):
  assert spaces(tasks) == expected


# Tasks of a schema.


@pytest.fixture
def schema():
  return Schema((Field('user', vocab_size=3),), CART_FUNNEL, group='user')


def test_a_schema_has_a_label_for_each_task(schema):
  assert schema.labels == ('click', 'cart', 'conversion')
  turned = Schema(schema.fields, CART_FUNNEL[::-1])
  assert turned.tasks == CART_FUNNEL and turned.labels == schema.labels
  assert Schema(schema.fields).tasks == FUNNEL


@pytest.mark.parametrize(
    'wanted, expected',
    [
        (['ctr'], (CLICK,)),
        (['atr', 'ctr'], (CLICK, ATR)),
        (['ptr', 'atr', 'ctr'], CART_FUNNEL),
    ],
)
def test_some_tasks_of_a_schema(schema, wanted, expected):
  chosen = schema.with_tasks(wanted)
  assert chosen.tasks == expected
  assert (chosen.fields, chosen.group) == (schema.fields, schema.group)


@pytest.mark.parametrize(
    'wanted, message',
    [
        (['ctr', 'atrr'], "dataset.tasks names 'atrr'.*Did you mean 'atr'"),
        (['ctr', 'cvr'], "dataset.tasks names 'cvr'.*There are: atr, ctr, ptr"),
        (['ctr', 'ptr'], "'ptr' comes after 'atr', which is no task"),
        (['atr'], "'atr' comes after 'ctr', which is no task"),
        (['ctr', 'ctr'], "Two tasks have the name 'ctr'"),
    ],
)
def test_tasks_that_a_schema_cannot_give(schema, wanted, message):
  with pytest.raises(InputError, match=message):
    schema.with_tasks(wanted)
