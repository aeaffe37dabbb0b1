"""Records of balancing along training: weights, ratios, angles, conflicts.

A step adds raw values to the sums of a report, each times an indicator of the
steps in which it is defined; `reported` divides by how often that was. Keys are
`balancing/KIND/REST` (raw ones with `:`, since they name arrays of a
checkpoint); REST is a term, or a pair `i|j` of terms, after the part
of the parameters where there are several:

    present/TERM     rate of the steps in which the task has rows
    complete         rate of the steps in which all tasks have
    share/TERM       w_i / sum_j |w_j|, of complete steps
    total            sum_j |w_j|, of complete steps
    positive/i|j     rate of the complete steps in which both weights are > 0
    ratio/i|j        w_j / w_i, geometric mean of those steps
    both/PART/i|j    rate of the steps in which both gradients are not 0
    cosine/PART/i|j  between the gradients, of those steps, as the next two
    conflict/PART/i|j    rate of a cosine below 0
    norm_ratio/PART/i|j  |g_j| / |g_i|, geometric mean
    degenerate       rate of the steps in which the method had no solution

PART is `all`, `tables`, `trunk`, `gates` or `towers`. Methods with weights for
each part have share, total, positive and ratio by part as well.
"""

from collections.abc import Iterator, Mapping, Sequence
import itertools
import math

from esmm_jax.types import Array
import jax.numpy as jnp

PREFIX = 'balancing/'
_RAW = 'balancing:'
DEGENERATE = f'{_RAW}degenerate'
_COMPLETE = f'{PREFIX}complete'
_GEOMETRIC = ('ratio', 'norm_ratio')
# Kind -> the kind that says how often it is defined.
_DEFINED = {
    'share': 'complete',
    'total': 'complete',
    'ratio': 'positive',
    'cosine': 'both',
    'conflict': 'both',
    'norm_ratio': 'both',
}


def pairs(terms: Sequence[str]) -> Iterator[tuple[int, int, str]]:
  """Iterates over the pairs of terms: their numbers, and their name."""
  for i, j in itertools.combinations(range(len(terms)), 2):
    yield i, j, f'{terms[i]}|{terms[j]}'


def of_step(
    terms: Sequence[str],
    weights: Mapping[str, Array],
    products: Mapping[str, Array],
    counts: Array,
) -> dict[str, Array]:
  """Returns the raw values of a step, scalars.

  Args:
    terms: T tasks.
    weights: '' for all parts, or part -> [T].
    products: `all` or part -> the products of gradients [T, T].
    counts: [T], sizes of the sample spaces in the batch.
  """
  present = (counts > 0).astype(jnp.float32)
  complete = present.prod()
  raw = {f'{_RAW}present:{k}': present[i] for i, k in enumerate(terms)}
  raw[f'{_RAW}complete'] = complete
  for part, w in weights.items():
    raw |= _weights(terms, f'{part}:' if part else '', w, complete)
  for part, gram in products.items():
    raw |= _products(terms, part, gram)
  return raw


def _weights(
    terms: Sequence[str], part: str, w: Array, complete: Array
) -> dict[str, Array]:
  """Returns the raw values of weights [T]."""
  total = jnp.abs(w).sum()
  share = complete * w / jnp.where(total > 0, total, 1.0)
  name = f'{_RAW}total:{part}'.rstrip(':')
  raw = {name: complete * total}
  raw |= {f'{_RAW}share:{part}{k}': share[i] for i, k in enumerate(terms)}
  for i, j, pair in pairs(terms):
    positive = complete * (w[i] > 0) * (w[j] > 0)
    safe = jnp.where(positive > 0, w, 1.0)
    raw[f'{_RAW}positive:{part}{pair}'] = positive
    raw[f'{_RAW}ratio:{part}{pair}'] = jnp.log(safe[j]) - jnp.log(safe[i])
  return raw


def _products(
    terms: Sequence[str], part: str, gram: Array
) -> dict[str, Array]:
  """Returns the raw values of the products of a part, [T, T]."""
  raw = {}
  for i, j, pair in pairs(terms):
    pair = f'{part}:{pair}'
    defined = (gram[i, i] > 0) & (gram[j, j] > 0)
    both = defined.astype(jnp.float32)
    one, two = (
        jnp.sqrt(jnp.where(defined, gram[k, k], 1.0)) for k in (i, j)
    )
    cosine = jnp.where(defined, gram[i, j] / one / two, 0.0)
    raw[f'{_RAW}both:{pair}'] = both
    raw[f'{_RAW}cosine:{pair}'] = cosine
    raw[f'{_RAW}conflict:{pair}'] = both * (cosine < 0)
    raw[f'{_RAW}norm_ratio:{pair}'] = jnp.log(two) - jnp.log(one)
  return raw


def is_record(key: str) -> bool:
  """Returns whether a key, without `train/`, is of a record."""
  return key.startswith(PREFIX)


def defined(key: str) -> str | None:
  """Returns the key of the rate at which a record is defined; None: always."""
  kind, _, rest = key.removeprefix(PREFIX).partition('/')
  by = _DEFINED.get(kind)
  if by is None:
    return None
  return _COMPLETE if by == 'complete' else f'{PREFIX}{by}/{rest}'


def is_geometric(key: str) -> bool:
  """Returns whether the mean of a record is a geometric one."""
  return key.removeprefix(PREFIX).partition('/')[0] in _GEOMETRIC


def reported(means: Mapping[str, float]) -> dict[str, float]:
  """Turns means of raw values into those of the steps that define them.

  >>> reported({
  ...     'loss': 0.5, 'balancing:complete': 0.5, 'balancing:share:ctr': 0.3})
  {'loss': 0.5, 'balancing/complete': 0.5, 'balancing/share/ctr': 0.6}

  Args:
    means: Key -> mean over the steps of a report. Others are returned as they
      are, and a record that no step defines is left out.
  """
  named = {
      k.replace(':', '/') if k.startswith(_RAW) else k: value
      for k, value in means.items()
  }
  result = {}
  for key, value in named.items():
    by = defined(key) if is_record(key) else None
    if by is not None:
      if not named[by] > 0:
        continue
      value = value / named[by]
      value = math.exp(value) if is_geometric(key) else value
    result[key] = value
  return result
