"""Rules that split a log, and the names that people give to splits."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from esmm_jax.data.store.options import FIT_ON
from esmm_jax.options import check_choice
from esmm_jax.types import InputError
import numpy as np
import pyarrow as pa

SPLITS = ('train', 'valid', 'test')
LEFT_OUT = -1
RULES = ('random', 'time', 'column', 'files')
DEFAULT_SHARE = 0.1
# In any case of letters.
_NAMES = {
    'train': ('train', 'training'),
    'valid': ('valid', 'validation', 'val', 'dev', 'eval', 'evaluation'),
    'test': ('test', 'testing'),
}
_POSITION = {
    alias: SPLITS.index(split)
    for split, aliases in _NAMES.items()
    for alias in aliases
}
# Option -> the rules that read it.
_RULES_OF = {
    'split_by': ('random', 'files'),
    'split_seed': ('random', 'files'),
    'split_column': ('column',),
    'time': ('time',),
    'valid_from': ('time',),
    'test_from': ('time',),
    'valid_files': ('files',),
    'test_files': ('files',),
    'valid_share': ('random', 'time', 'files'),
    'test_share': ('random', 'time'),
}
_NEEDED = {'time': 'time', 'column': 'split_column', 'files': 'test_files'}


def check(options: Mapping[str, Any], has_history: bool = False) -> None:
  """Refuses options of splits that contradict each other.

  Args:
    options: Those of the dataset section that are set, `split` among them;
      shares are absent where they are unset.
    has_history: Whether the time is read for a history too.

  Raises:
    InputError: An option belongs to another rule, a rule lacks its option, or
      two options say different things.
  """
  rule = options['split']
  check_choice('dataset.split', rule, RULES)
  check_choice('dataset.fit_on', options.get('fit_on', FIT_ON[0]), FIT_ON)
  for option, rules in _RULES_OF.items():
    if option == 'time' and has_history:
      continue
    if option in options and rule not in rules:
      others = ' or '.join(f"dataset.split='{r}'" for r in rules)
      raise InputError(
          f'dataset.{option} belongs to {others}, but dataset.split is'
          f' {rule!r}. Change dataset.split, or leave dataset.{option} out.'
      )
  needed = _NEEDED.get(rule)
  if needed and needed not in options:
    raise InputError(
        f"dataset.split is '{rule}', but dataset.{needed} is empty."
    )
  shares = {s: options.get(f'{s}_share', DEFAULT_SHARE) for s in SPLITS[1:]}
  for split, share in shares.items():
    if not 0 <= share < 1:
      raise InputError(
          f'dataset.{split}_share is {share}; it must be at least 0 and below'
          ' 1.'
      )
    if f'{split}_share' in options and f'{split}_from' in options:
      raise InputError(
          f'dataset.{split}_from and {split}_share both define the split'
          f' {split!r}; set only one of them.'
      )
  decide = [x for split, x in shares.items() if f'{split}_from' not in options]
  if sum(decide) >= 1:
    raise InputError(
        'dataset.valid_share and test_share leave no rows to train on; their'
        ' sum must be below 1.'
    )
  if rule == 'files':
    _check_files(options)
  if 'fit_on' in options and 'valid' not in names(options):
    raise InputError(
        f'dataset.fit_on is {options["fit_on"]!r}, but this log has no'
        ' validation split; leave dataset.fit_on out.'
    )


def fitted(split: np.ndarray, fit_on: str) -> np.ndarray:
  """Marks the rows that vocabularies and scaling are fitted on.

  Args:
    split: int8 [n], a position in `SPLITS`, or LEFT_OUT.
    fit_on: One of `FIT_ON`.

  Returns:
    bool [n].
  """
  return np.isin(split, [SPLITS.index(name) for name in fit_on.split('+')])


def _check_files(options: Mapping[str, Any]) -> None:
  share = options.get('valid_share', 0)
  if share and 'valid_files' in options:
    raise InputError(
        "dataset.valid_files and valid_share both define the split 'valid'; set"
        ' only one of them.'
    )
  for option in ('split_by', 'split_seed'):
    if option in options and not share:
      raise InputError(
          f'dataset.{option} applies only to rows that dataset.valid_share'
          " takes from the training files (dataset.split='files'); set"
          f' dataset.valid_share, or leave dataset.{option} out.'
      )


def names(options: Mapping[str, Any]) -> tuple[str, ...]:
  """Returns the splits that a log can have, before it is read.

  Args:
    options: See `check`.
  """
  rule = options['split']
  if rule == 'column':
    return SPLITS
  default = 0 if rule == 'files' else DEFAULT_SHARE
  return (
      'train',
      *(
          split
          for split in SPLITS[1:]
          if options.get(f'{split}_share', default)
          or f'{split}_from' in options
          or f'{split}_files' in options
      ),
  )


def of_names(texts: pa.Array) -> tuple[np.ndarray, Counter]:
  """Assigns rows to the splits that a column names.

  Args:
    texts: Identifiers [n], null where there is none.

  Returns:
    int8 [n], a position in `SPLITS`, or LEFT_OUT; and the other names with
    their numbers of rows, '' for null.
  """
  coded = texts.dictionary_encode()
  distinct = coded.dictionary.to_pylist()
  positions = [_POSITION.get(t.lower(), LEFT_OUT) for t in distinct]
  index = coded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
  split = np.array([LEFT_OUT, *positions], np.int8)[index + 1]
  counts = np.bincount(index + 1, minlength=len(distinct) + 1).tolist()
  others = Counter({
      name: count
      for name, count, position in zip(
          ['', *distinct], counts, [LEFT_OUT, *positions]
      )
      if position == LEFT_OUT and count
  })
  return split, others


def describe(others: Mapping[str, int], most: int = 5) -> str:
  """Lists names that are no splits with their rows, the most frequent first."""
  ranked = sorted(others.items(), key=lambda item: (-item[1], item[0]))
  texts = [
      f'{repr(name) if name else "no value"} ({count:,})'
      for name, count in ranked[:most]
  ]
  more = len(ranked) - most
  return ', '.join(texts) + (f' and {more} more' if more > 0 else '')


def known_names() -> str:
  """Returns the names that are understood, for messages."""
  texts = []
  for split, aliases in _NAMES.items():
    texts.append(f'{split} ({", ".join(aliases[1:])})')
  return ', '.join(texts) + ', in any case'


def by_share(
    position: np.ndarray, valid_share: float, test_share: float
) -> np.ndarray:
  """Assigns rows to splits by their position.

  Args:
    position: float64 [n], in [0, 1), as if drawn evenly.
    valid_share: Share of the rows.
    test_share: The same.

  Returns:
    int8 [n], a position in `SPLITS`.
  """
  test = 1 - test_share
  ends: Sequence[float] = [test - valid_share, test]
  return np.searchsorted(ends, position, side='right').astype(np.int8)
