"""Compares raw files with those that the prepared data was made from."""

from collections.abc import Mapping
from typing import Any

from esmm_jax.data.files.file_hashes import Hashes, size
from esmm_jax.data.store import remote_data
from esmm_jax.types import InputError


def check_raw(
    used: Mapping[str, Any],
    present: Mapping[str, str],
    folder: str,
    raw_dir: str,
) -> list[str]:
  """Compares the files in a data set's `raw_dir`; see `check`.

  Args:
    used: See `check`.
    present: See `check`.
    folder: See `check`.
    raw_dir: Folder of the files that are present.
  """
  return check(
      used,
      present,
      folder,
      f'raw files than those in {raw_dir}',
      ', leave raw_dir empty to use what is prepared,',
  )


def check(
    used: Mapping[str, Any],
    present: Mapping[str, str],
    folder: str,
    which: str,
    advice: str,
) -> list[str]:
  """Compares files by their names and by what they hold.

  Args:
    used: Name -> `Hashes.facts` of the files that the data was prepared from,
      as its report holds them; or bytes alone, in those of earlier versions.
    present: Name -> path, of the files that exist now.
    folder: Of the prepared data.
    which: Names the present files, for the message.
    advice: An alternative to deleting the folder, for the message.

  Returns:
    A warning, if of a file the size alone is known; [] otherwise.

  Raises:
    InputError: They differ; names the first file that does.
  """
  then = {
      name: dict(facts) if isinstance(facts, Mapping) else {'bytes': facts}
      for name, facts in used.items()
  }
  sizes = {name: size(path) for name, path in present.items()}

  shown = remote_data.shown(folder)

  def refuse(name: str, problem: str) -> None:
    raise InputError(
        f'{shown} was prepared from other {which}: {name} {problem}. Delete'
        f' that folder to prepare from the new files{advice} or use another'
        ' --data_dir.'
    )

  for name in [*then, *present]:
    before = f'{then[name]["bytes"]} bytes' if name in then else 'absent'
    now = f'{sizes[name]} bytes' if name in present else 'absent'
    if before != now:
      refuse(name, f'was {before} then and is {now} now')
  hashes = Hashes(folder)
  unknown = []
  for name, facts in then.items():
    if len(facts) == 1:
      unknown.append(name)
    elif not hashes.holds(present[name], facts):
      refuse(name, 'has as many bytes as then, but other content')
  hashes.save()
  if not unknown:
    return []
  more = f' and {len(unknown) - 1} more' if len(unknown) > 1 else ''
  return [
      f'{folder} records only the size of {unknown[0]}{more}, because an'
      ' earlier version prepared it: other content of the same size is not'
      ' noticed. To record checksums, delete that folder; the data is then'
      ' prepared again.'
  ]
