"""Methods of balancing on many problems at once, by one program for each."""

import functools
import inspect

from esmm_jax.balancing import BALANCERS, method as methods
import jax
import numpy as np

TERMS = ('cvr', 'ctr', 'x', 'y')
# Problems of a call: one number, so that a method has few programs.
_BATCH = 128


def options(name):
  """The traced options of a method and their defaults."""
  read = methods.options(BALANCERS[name])
  return {k: float(v.default) for k, v in read.items() if v.traced}


def names(function):
  return () if function is None else inspect.signature(function).parameters


def _pick(function, given):
  return {k: v for k, v in given.items() if k in names(function)}


def start(name, num, given=None):
  """State at the start for T tasks, of one problem."""
  init = BALANCERS[name].init
  given = options(name) | (given or {})
  return init(num, **_pick(init, given)) if init else ()


@functools.cache
def _program(name, terms, fixed, dtype, which):
  del dtype  # Another type of numbers is another program.
  function = getattr(BALANCERS[name], which)
  fixed = _pick(function, dict(fixed) | {'terms': terms})

  def one(args, given, step):
    more = _pick(function, given | {'step': step}) | fixed
    return function(*args, **more)

  return jax.jit(jax.vmap(one, in_axes=(0, 0, None)))


def _run(name, terms, fixed, dtype, which, args, given, count):
  """Runs a program on problems in groups of `_BATCH`."""
  out = []
  if 'terms' not in names(getattr(BALANCERS[name], which)):
    terms = None
  for first in range(0, count, _BATCH):
    part = _take((args, given), np.arange(first, first + _BATCH) % count)
    program = _program(
        name, terms, tuple(sorted((fixed or {}).items())), dtype, which)
    out.append(jax.tree.map(np.asarray, program(*part, np.int32(7))))
  return jax.tree.map(lambda *x: np.concatenate(x)[:count], *out)


def weigh(name, gram, losses=None, counts=None, state=None, terms=None,
          fixed=None, dtype=np.float64, seed=0, **given):
  """Weights of N problems.

  Args:
    name: Of the method.
    gram: [N, T, T].
    losses: [N, T]; default: all 1.
    counts: [N, T]; default: all 1.
    state: As this function returns it; default: that at the start.
    terms: Names of the tasks.
    fixed: Options that are not traced.
    dtype: Of the numbers.
    seed: Of the keys.
    **given: Traced options; default: theirs.

  Returns:
    Weights [N, T] and the states.
  """
  with jax.enable_x64(dtype == np.float64):
    count, num = gram.shape[:2]
    cast = lambda x: np.broadcast_to(x, (count, num)).astype(dtype)
    if state is None:
      state = _repeat(start(name, num, given), count)
    keys = jax.random.split(jax.random.key(seed), count)
    args = (
        np.asarray(gram, dtype),
        cast(1 if losses is None else losses),
        cast(1 if counts is None else counts),
        state,
        keys,
    )
    return _run(name, tuple(terms or TERMS[:num]), fixed, dtype, 'weights',
                args, _traced(name, given, count, dtype), count)


def after(name, before, later, counts, state, dtype=np.float64, **given):
  """States after a step; see `weigh`."""
  with jax.enable_x64(dtype == np.float64):
    count, num = before.shape
    args = (*(np.asarray(x, dtype) for x in (before, later, counts)), state)
    return _run(name, TERMS[:num], {}, dtype, 'after', args,
                _traced(name, given, count, dtype), count)


def _traced(name, given, count, dtype):
  values = options(name) | given
  return {k: np.full(count, v, dtype) for k, v in values.items()}


def _take(tree, rows):
  return jax.tree.map(lambda x: x[rows], tree)


def _repeat(tree, count):
  return jax.tree.map(lambda x: np.repeat(np.asarray(x)[None], count, 0), tree)
