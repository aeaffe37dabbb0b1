"""Counts of the published files, and the report as text."""

from collections.abc import Iterator, Mapping
from typing import Any

from esmm_jax.data.ali_ccp.fields import BY_NAME
from esmm_jax.types import InputError

# Raw split -> counts of the official files, on which several public sources
# agree: rows of the skeleton, clicks, conversions with a click, and without.
PUBLISHED = {
    'train': dict(
        rows_read=42_300_135,
        clicks_read=1_644_256,
        conversions=8_802,
        conversions_without_click=230,
    ),
    'test': dict(
        rows_read=43_016_840,
        clicks_read=1_673_447,
        conversions=9_195,
        conversions_without_click=226,
    ),
}
# A pair of files with more rows is meant to be the official one, whole or not.
OFFICIAL_ROWS = 30_000_000


def against_published(raw_split: str, facts: Mapping[str, int]) -> str:
  """Returns the counts that differ from the published ones as text, or ''."""
  counts = dict(
      facts,
      conversions=facts['conversions_read']
      - facts['conversions_without_click'],
  )
  expected = PUBLISHED[raw_split]
  return '; '.join(
      f'{name.replace("_", " ")}: {counts[name]:,}, published {value:,}'
      for name, value in expected.items()
      if counts[name] != value
  )


def check_published(raw_split: str, facts: Mapping[str, int]) -> None:
  """Refuses files of the official size with other counts.

  Raises:
    InputError: Lists the counts that differ.
  """
  differs = against_published(raw_split, facts)
  if differs and facts['rows_read'] >= OFFICIAL_ROWS:
    raise InputError(
        f'The {raw_split} files have the size of the official Ali-CCP files,'
        f' but not their counts: {differs}. The download may be incomplete or'
        ' damaged; fetch it again and compare the sha256. To use the files as'
        ' they are set check_counts=False.'
    )


def lines(report: Mapping[str, Any]) -> Iterator[str]:
  """Yields the report as lines of text."""
  for name, file in report['files'].items():
    yield f'{name}: {file["bytes"]:,} bytes, sha256 {file["sha256"]}'
  for raw_split, facts in report['read'].items():
    yield ''
    yield f'{raw_split} files'
    for name, value in facts.items():
      yield f'  {name.replace("_", " ")}: {_text(value)}'
  for file, counts in report['text'].items():
    yield ''
    yield file
    for name, value in counts.items():
      if value:
        yield f'  {name.replace("_", " ")}: {_text(value)}'
  splits = report['splits']
  yield ''
  yield f'{"":12}' + ''.join(f'{s:>14}' for s in splits)
  for name in ('rows', 'clicks', 'conversions', 'sessions'):
    yield f'{name:12}' + ''.join(f'{r[name]:>14,}' for r in splits.values())
  yield ''
  yield (
      f'{"field":8}{"meaning":38}{"ids":>10}'
      + ''.join(f'{s + " filled":>13}{"rare":>8}' for s in splits)
      + f'{"length":>9}{"longest":>9}'
  )
  first = next(iter(splits.values()))
  for name, size in report['vocab_sizes'].items():
    line = f'{name:8}{BY_NAME[name].meaning[:37]:38}{size:>10,}'
    for r in splits.values():
      f = r['fields'][name]
      line += f'{f["rows_with_value"]:>13.1%}{f["rare"]:>8.1%}'
    if 'mean_length' in first['fields'][name]:
      longest = max(r['fields'][name]['longest'] for r in splits.values())
      line += f'{first["fields"][name]["mean_length"]:>9.1f}{longest:>9,}'
    yield line


def _text(value: Any) -> str:
  if isinstance(value, Mapping):
    return ', '.join(f'{k} {_text(v)}' for k, v in value.items())
  return f'{value:,}' if isinstance(value, int) else str(value)
