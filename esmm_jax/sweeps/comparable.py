"""Runs of a results table that may be averaged, and compared with a test.

A run counts if it is the one of its point. Two runs are a pair if they were
trained on the same data and differ in nothing but what their points set.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from esmm_jax.json_files import to_json
from esmm_jax.sweeps.points import Point, run_name
from esmm_jax.sweeps.saved_runs import find_run, OF_REFIT, other_point
from esmm_jax.sweeps.saved_runs import run_folder, SavedRun
from esmm_jax.types import InputError
from esmm_jax.workdir import manifest
from esmm_jax.workdir.folder import decisive, differences
from esmm_jax.workdir.identity import RAW_DATA_KEYS, say_once

Config = Mapping[str, Any]
# A refit's keys: the run that it trains anew, and what it notes of it.
_REFIT = (
    'refit_of',
    *('refit_identity', 'refit_params_sha256', 'refit_step'),
    *('refit_metric', 'refit_split', 'refit_data'),
)
_VECTORS = ('model.vectors', 'model.vectors_sha256', 'model.vectors_form')
# Keys that say where files lie, and what follows from another run; the data and
# that run's parameters have hashes of their own.
_FREE = (
    *RAW_DATA_KEYS,
    'dataset.vocabulary_of',
    'dataset.vocabulary_sha256',
    'init_from',
    'init_sha256',
    *_VECTORS,
    *_REFIT,
)
_ABSENT = 'absent'


def read_runs(
    points: Sequence[Point],
    workdir: str,
    configs: Mapping[str, Config] | None = None,
) -> tuple[dict[str, SavedRun], list[str]]:
  """Reads the runs of a sweep that count.

  A config file that was changed after the sweep changes the configs of all its
  runs alike, which is told; a run that differs in other keys is another one.

  Args:
    points: Of the sweep.
    workdir: Its folder.
    configs: Run -> the config that its point has today, flat, as
      `folder.decisive` returns it; None where they are not known.

  Returns:
    Name -> run, damaged ones and those of other points as not finished, with
    their `problem`; notes for people.
  """
  configs = configs or {}
  by_name = {run_name(point): point for point in points}
  runs = {
      # A config of today has what the point sets, and what --override did.
      name: find_run(workdir, name, None if name in configs else point)
      for name, point in by_name.items()
  }
  changes = {
      name: _changes(run.config, configs[name])
      for name, run in runs.items()
      if run.results is not None and name in configs
  }
  common = set.intersection(*changes.values()) if changes else set()
  # No change of a config file changes what a point sets.
  common = {c for c in common if not any(c[0] in p for p in points)}
  for name, changed in changes.items():
    if changed - common:
      folder = run_folder(workdir, name)
      problem = other_point(folder, _texts(changed - common))
      runs[name] = SavedRun(name, None, None, problem=problem)
  notes = [run.problem for run in runs.values() if run.problem]
  unknown = [run.name for run in runs.values() if run.unknown]
  if unknown:
    say_once(  # No note in the results table, whose numbers are as they were.
        f'{len(unknown)} of {len(runs)} runs, as {unknown[0]}, have no'
        f' {manifest.NAME} that can be read, as those of early versions: their'
        ' configs, data and results are not compared with what they began with.'
    )
  if common:
    notes.append(
        'The config file was changed after these runs:'
        f' {"; ".join(_texts(common))}, in the file.'
    )
  return runs, notes


def no_pair(
    one: tuple[Point, SavedRun], other: tuple[Point, SavedRun]
) -> str:
  """Returns why two runs are not compared; '' if they are, or one is missing.

  Args:
    one: A point and its run.
    other: Those that it is compared with.
  """
  (point, run), (second, baseline) = one, other
  if run.results is None or baseline.results is None or run is baseline:
    return ''
  a, b = (_identifying(r.config or {}) for r in (run, baseline))
  keys = {k for k in a.keys() | b.keys() if a.get(k) != b.get(k)}
  set_keys = {
      k
      for k in point.keys() | second.keys()
      if point.get(k, _ABSENT) != second.get(k, _ABSENT)
  }
  why = ''
  data_keys = {k for k in keys if k.startswith('dataset.')}
  by_design = bool(data_keys) and _explained(data_keys, set_keys)
  rest = sorted(k for k in keys if not _explained({k}, set_keys))
  if run.data and baseline.data and run.data != baseline.data and not by_design:
    why = f'trained on different data (sha256 {run.data} and {baseline.data})'
  elif rest:
    values = (str(flat.get(rest[0], _ABSENT)) for flat in (a, b))
    why = (
        f'trained with different {rest[0]} ({" and ".join(values)}), which'
        ' their points do not set'
    )
  return why and f'No test: {run.name} and {baseline.name} were {why}.'


def check_alike(
    seed: str, points: Sequence[Point], runs: Mapping[Any, SavedRun]
) -> None:
  """Refuses to average runs whose configs differ in more than the points do.

  They do when a config file was changed between two parts of a sweep.

  Args:
    seed: Key that numbers the repetitions.
    points: Of one row.
    runs: Seed -> their run.

  Raises:
    InputError: Two configs differ in a key that the points do not set.
  """
  absent = object()  # A point may lack a key that another one sets.
  free = {
      key
      for key in set().union(*points)
      if len({point.get(key, absent) for point in points}) > 1
  }
  free |= {seed, 'dataset.raw_dir'}
  if 'init_from' in free:  # The fingerprints of what it names.
    free |= {'init_sha256', 'dataset.vocabulary_sha256'}
  if 'model.vectors' in free:
    free |= set(_VECTORS)
  if 'refit_of' in free:
    free |= {*_REFIT, *OF_REFIT}
  first, expected = '', {}
  for run in runs.values():
    if run.results is None or run.config is None:
      continue
    config = decisive(run.config)
    config = {k: v for k, v in config.items() if k not in free}
    if not first:
      first, expected = run.name, config
    if differing := differences(config, expected):
      raise InputError(
          f'The runs {run.name} and {first} are of one row, but'
          f' {differing[0]}. A config file was changed in between; delete the'
          ' folder of the older one and run the sweep again.'
      )


def other_data(runs: Sequence[SavedRun]) -> str:
  """Returns a note if runs of one config are of different data; or ''."""
  by_data: dict[str, SavedRun] = {}
  for run in runs:
    if run.results is not None and run.data:
      by_data.setdefault(run.data, run)
  if len(by_data) < 2:
    return ''
  first, second = list(by_data.values())[:2]
  configs = [_identifying(r.config or {}) for r in by_data.values()]
  sections = [
      {k: v for k, v in c.items() if k.startswith('dataset.')} for c in configs
  ]
  if any(section != sections[0] for section in sections):
    return ''  # The points say so.
  return (
      f'{first.name} and {second.name} are averaged, and were trained on'
      f' different data (sha256 {first.data} and {second.data}).'
  )


def _explained(keys: set[str], set_keys: set[str]) -> bool:
  """Returns whether points that differ in `set_keys` may differ in `keys`.

  A config file sets any key, a protocol options of the data, and a refit what
  it trains on.
  """
  if 'config' in set_keys:
    return True
  by_protocol = 'protocol' in set_keys
  by_refit = OF_REFIT if 'refit_of' in set_keys else ()
  return all(
      key in set_keys
      or key in by_refit
      or by_protocol and key.startswith('dataset.')
      for key in keys
  )


def _identifying(config: Config) -> dict[str, Any]:
  flat = decisive(dict(config))
  return {k: to_json(v) for k, v in flat.items() if k not in _FREE}


def _changes(
    config: Config | None, expected: Config
) -> set[tuple[str, str, str]]:
  """Returns (key, value of a run, value of its point) where they differ."""
  now = _identifying(config or {})
  then = {k: to_json(v) for k, v in expected.items() if k not in _FREE}
  return {
      (k, str(now.get(k, _ABSENT)), str(then.get(k, _ABSENT)))
      for k in now.keys() | then.keys()
      if now.get(k, _ABSENT) != then.get(k, _ABSENT)
  }


def _texts(changes: set[tuple[str, str, str]]) -> list[str]:
  ordered = sorted(changes)
  return differences(
      {key: value for key, value, _ in ordered},
      {key: value for key, _, value in ordered},
  )
