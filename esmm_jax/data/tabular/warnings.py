"""Warnings and refusals of a log: what its training rows cannot teach."""

from collections.abc import Mapping, Sequence
import re
from typing import Any

from esmm_jax.data.files import copies
from esmm_jax.data.tabular import splits
from esmm_jax.data.tabular.config import TabularConfig, WEIGHT
from esmm_jax.data.tabular.encoder import Encoder, Scaling
from esmm_jax.data.tabular.fit import Fit
from esmm_jax.schema import FIRST_KEPT, Schema
from esmm_jax.types import InputError
import numpy as np

# Share of rows without a group from which on people should know.
_UNGROUPED = 0.2
OF_GAUC = 'GAUC leaves them out, and its coverage counts them'
# What earlier versions did, and saved in their data.
_OF_GAUC = re.compile(r': GAUC takes them for one group\. Give .*GAUC\.$')
# One row of so many flattens a column with such a share of its variance.
_FLAT_ROWS, _FLAT_SHARE = 100, 0.99
# Numbers are far off from so many times the distance that training saw.
_FAR = 1000.0


def of_log(
    config: TabularConfig,
    report: Mapping[str, Any],
    fit: Fit,
    encoder: Encoder,
) -> list[str]:
  """Lists the warnings of a log.

  Args:
    config: Of the log.
    report: Of the first pass: `rows`, `splits` with `train`, `other_splits`,
      `ungrouped` and `without_split_by`, the rows without a value of these
      columns.
    fit: Of all training rows.
    encoder: Made from it.
  """
  return [
      *_of_splits(config, report.get('other_splits', {})),
      *_of_labels(config, report['splits']['train']),
      *_of_inputs(config, fit, encoder.schema),
      *_of_numbers(config, fit, encoder),
      *_of_buckets(fit, encoder),
      *_of_groups(config, report),
  ]


def of_files(
    config: TabularConfig, files: Mapping[str, Mapping[str, Any]]
) -> list[str]:
  """Lists the files that hold what another one holds.

  Args:
    config: Of the log.
    files: Path -> what tells its content, see `file_hashes.Hashes.facts`.
  """
  alike: dict[tuple, list[str]] = {}
  for path, facts in files.items():
    if facts.keys() & {'sha256', 'tag'}:
      alike.setdefault(tuple(sorted(facts.items())), []).append(path)
  return [
      f'{first} and {" and ".join(others)} have the same content, so their rows'
      f' count {len(others) + 1} times. Leave all but one out of dataset.files.'
      for first, *others in alike.values()
      if others and copies.has_rows(first, config.dialect)
  ]


def renewed(texts: Sequence[str]) -> list[str]:
  """Returns saved warnings as they hold today."""
  return [_OF_GAUC.sub(f': {OF_GAUC}.', text) for text in texts]


def of_earlier_version(
    config: TabularConfig, report: Mapping[str, Any]
) -> list[str]:
  """Warns of data of a version that knew no other names of splits.

  Args:
    config: Of the log.
    report: Of the prepared data; {} before it is prepared.
  """
  if config.split != 'column' or 'other_splits' in report:
    return []
  if not report.get('left_out'):
    return []
  return [
      'an earlier version prepared this log and left out'
      f' {report["left_out"]:,} rows, because in column {config.split_column!r}'
      ' it recognized only train, valid and test. To use'
      f' {splits.known_names()}, delete the folder of the prepared data.'
  ]


def _of_splits(config: TabularConfig, others: Mapping[str, int]) -> list[str]:
  if not others:
    return []
  rows = sum(others.values())
  return [
      f'{rows:,} rows are left out, because column {config.split_column!r}'
      f' contains {splits.describe(others)}, which name no split. The names of'
      f' splits are {splits.known_names()}.'
  ]


def _of_labels(config: TabularConfig, train: Mapping[str, int]) -> list[str]:
  """Warns of labels that are 1 wherever they can be."""
  texts = []
  by_name = {t.name: t for t in config.tasks}
  for task in config.tasks:
    parent = by_name.get(task.parent)
    rows = train[parent.label] if parent else train['rows']
    if task.kind != 'binary' or train[task.label] != rows:
      continue
    where = f' with {parent.label} 1' if parent else ''
    texts.append(
        f'label {task.label} ({str(config.events[task.label])!r}) is 1 in all'
        f' {rows:,} training rows{where}: {task.name} has nothing to learn'
        ' there, and its AUC is not defined.'
    )
  return texts


def _of_inputs(config: TabularConfig, fit: Fit, schema: Schema) -> list[str]:
  """Warns of columns that do not tell the training rows apart."""
  texts = []
  for c in config.inputs:
    seen = fit.first_values(c.name)
    rare = c.kind != 'float' and schema.field(c.name).vocab_size == FIRST_KEPT
    if seen <= {None}:
      text = 'has no value in any training row'
    elif len(seen) == 1:
      text = f'is {next(iter(seen))!r} in all training rows'
    elif rare:
      text = (
          f'has no value that is in min_count={c.min_count} training rows, so'
          ' all its values count as one'
      )
    else:
      if c.target and not fit.is_related(c.name):
        texts.append(
            f'no entry of column {c.name!r} is a value of its target'
            f' {c.target!r} in the training rows: are they identifiers of one'
            ' kind? Attention compares their embeddings.'
        )
      continue
    texts.append(f'column {c.name!r} {text}: it tells the model nothing.')
  return texts


def _of_numbers(
    config: TabularConfig, fit: Fit, encoder: Encoder
) -> list[str]:
  """Warns of numbers that the training rows give no measure for."""
  texts = []
  for c in config.inputs:
    if c.kind != 'float' or c.scaling == 'none':
      continue
    train, others = fit.moments(c.name)
    scaling = encoder.scaling(c.name)
    own = train.farthest(scaling.mean, scaling.std)
    far = others.farthest(scaling.mean, scaling.std)
    if not scaling.std and len(fit.first_values(c.name)) > 1:
      where = 'the training rows'
      if config.vocabulary_of:
        where = "the training rows of dataset.vocabulary_of's log"
      texts.append(
          f'column {c.name!r} is constant in {where}, {_mean(scaling):.6g},'
          ' except for rounding and missing values: it tells the model nothing'
          ' and is 0 in every row.'
      )
    elif train.num >= _FLAT_ROWS and own**2 > _FLAT_SHARE * train.num:
      more = '' if scaling.log else f', or write {c.name}:scaling=log'
      texts.append(
          f'column {c.name!r} ranges from {train.low:.6g} to {train.high:.6g}'
          f' in training rows, and a single one of its {train.num:,} numbers'
          f' makes up more than {_FLAT_SHARE:.0%} of the variance, so the'
          f' others look almost equal to the model. Correct that number{more}.'
      )
    elif far > _FAR * max(own, 1.0):
      texts.append(
          f'column {c.name!r} reaches {far:.3g} standard deviations from its'
          f' mean in validation or test rows, but only {own:.3g} in training'
          f' rows, where it ranges from {train.low:.6g} to {train.high:.6g}:'
          ' predictions for such rows mean nothing.'
      )
  return texts


def _of_buckets(fit: Fit, encoder: Encoder) -> list[str]:
  """Warns of buckets that no training row is in, and of a single one."""
  texts = []
  for c in encoder.inputs:
    if c.edges is None:
      continue
    if not c.edges and len(fit.first_values(c.name)) > 1:
      texts.append(
          f'column {c.name!r} has one bucket: most training rows have its least'
          ' number. Write edges=... instead of buckets=....'
      )
    elif empty := fit.empty_buckets(c):
      texts.append(
          f'column {c.name!r} has no training row in {", ".join(empty)}: the'
          ' model learns nothing of such rows.'
      )
  return texts


def _mean(scaling: Scaling) -> float:
  """Returns the mean of a scaling as a number of the column."""
  if not scaling.log:
    return scaling.mean
  return float(np.sign(scaling.mean) * np.expm1(abs(scaling.mean)))


def _of_groups(config: TabularConfig, report: Mapping[str, Any]) -> list[str]:
  """Warns of rows without a value of the columns that keep rows together."""
  texts, total = [], report['rows']
  if rows := report.get('without_split_by', 0):
    texts.append(
        f'{rows:,} of {total:,} rows have no value in column'
        f' {config.split_by!r} (dataset.split_by): each of them is assigned to'
        ' a split on its own.'
    )
  rows = report.get('ungrouped', 0)
  if rows > _UNGROUPED * total:
    texts.append(
        f'{rows:,} of {total:,} rows have no value in column {config.group!r}'
        f' (dataset.group): {OF_GAUC}.'
    )
  return texts


def refuse_empty(
    config: TabularConfig,
    num: Mapping[str, Mapping[str, Any]],
    others: Mapping[str, int],
    total: int,
) -> None:
  """Refuses a log with an empty split, or with a label that is always 0.

  Args:
    config: Of the log.
    num: Split -> `rows`; label -> rows where it is not 0; `row_weight`.
    others: Names in `split_column` that are no splits -> their rows.
    total: Rows of the log.

  Raises:
    InputError: Says what is empty and which options decide it.
  """
  if not total:
    raise InputError('tabular: the files of dataset.files hold no row.')
  wanted = ['train'] if config.split == 'column' else config.split_names
  for name in wanted:
    if not num[name]['rows']:
      raise InputError(
          f'tabular: split {name!r} is empty; none of the {total:,} rows fell'
          f' into it. {_on_empty(config, name, others)}'
      )
  rows = num['train']['rows']
  for label, event in config.events.items():
    if not num['train'][label]:
      option = label if getattr(config, label, '') else 'labels'
      noun = 'label' if event.operator else 'column'
      raise InputError(
          f'tabular: {noun} {str(event)!r} is 0 in all {rows} training rows;'
          ' there is nothing to learn from. Is it the right column for'
          f' dataset.{option}?'
      )
  if config.weight and not num['train'][WEIGHT]:
    raise InputError(
        f'tabular: dataset.weight, column {config.weight!r}, is 0 in all'
        f' {rows} training rows; there is nothing to learn from.'
    )


def _on_empty(
    config: TabularConfig, split: str, others: Mapping[str, int]
) -> str:
  """Returns what to do about an empty split."""
  if others:
    return (
        f'Column {config.split_column!r} holds {splits.describe(others)};'
        f' write {splits.known_names()}.'
    )
  if config.split != 'random':
    return f'Check dataset.split={config.split} and what belongs to it.'
  shares = {'valid': config.valid_share, 'test': config.test_share}
  share = shares.get(split, 1 - sum(shares.values()))
  return (
      f'It gets {share:.3g} of the rows, by chance: set dataset.valid_share and'
      ' dataset.test_share, to 0 for no such split.'
  )
