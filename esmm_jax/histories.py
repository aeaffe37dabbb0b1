"""Names what the histories of a run know: its protocol, in words for people.

    ''                            no input is a history
    nightly                       no label of a row's own day, nor of its split
    live, delay 10m, sessions     labels that are 10 minutes old, of the test
                                  days too; times of the session

A run says it under `KEY` in results.json. Numbers of runs that know other
labels are not compared, so whoever shows them together says it (`comparison`).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

KEY = 'history'  # In results.json and evaluation.json.
# In what is told of files of scores, and of exported models.
ABOUT = 'history_protocol'
NIGHTLY = 'nightly'
# That of `history_live=true` on KuaiRand, before runs noted their protocol.
_EARLY_LIVE = 'live, delay 1d'
_DELAY = 'delay '


def of_run(
    results: Mapping[str, Any] | None, config: Mapping[str, Any] | None
) -> str:
  """Returns the protocol of a run; '' if no input is a history.

  Args:
    results: Content of results.json; None of a run that is not finished.
    config: Content of config.json. A run of an earlier version has no protocol
      in its results, and only KuaiRand had histories, by day.
  """
  noted = (results or {}).get(KEY)
  if isinstance(noted, str):
    return noted
  dataset = (config or {}).get('dataset') or {}
  if dataset.get('name') != 'kuairand' or dataset.get('history') is not True:
    return ''
  return _EARLY_LIVE if dataset.get('history_live') else NIGHTLY


def noted(history: str, key: str = KEY) -> dict[str, str]:
  """Returns what a file tells of a protocol: {} where there is none."""
  return {key: history} if history else {}


def is_live(history: str) -> bool:
  """Returns whether rows know of other rows of their own day or split."""
  return history not in ('', NIGHTLY)


def labelled(name: str, history: str) -> str:
  """Adds the protocol to the name of a run or row.

  >>> labelled('esmm', 'live, delay 10m'), labelled('esmm', '')
  ('esmm [live, delay 10m]', 'esmm')
  """
  return f'{name} [{history}]' if history else name


def joined(histories: Iterable[str]) -> str:
  """Returns the protocol that runs share, or those that they have.

  >>> joined(['nightly', 'nightly']), joined(['', 'live, delay 1h'])
  ('nightly', 'no history and live, delay 1h')
  """
  several = list(dict.fromkeys(histories))
  if len(several) < 2:
    return ''.join(several)
  return ' and '.join(history or 'no history' for history in several)


def meaning(history: str) -> str:
  """Says what a protocol is, in a sentence; '' of none."""
  if not history:
    return ''
  if not is_live(history):
    return (
        'nightly: a row knows labels of the days before its own, and a row of'
        ' validation or test those before its split.'
    )
  return (
      f'{history}: {_knows(history)}. Compare its numbers with runs of the same'
      ' protocol only.'
  )


def comparison(
    histories: Sequence[str], names: Sequence[str] = (), what: str = 'row'
) -> str:
  """Says that what is shown together knows different things; '' if it does not.

  Runs without a history and nightly ones know nothing of the days that they are
  tested on, so they are compared.

  >>> comparison(['nightly', 'nightly', 'live, delay 1h'])
  'Rows 1-2 are nightly; row 3 is live, delay 1h: it knows labels of the test \
days. Do not compare them with each other.'

  Args:
    histories: The protocols, in the order in which they are shown.
    names: What has them; default: their numbers, from 1.
    what: The word for one of them.
  """
  if len({h if is_live(h) else NIGHTLY for h in histories}) < 2:
    return ''
  parts = []
  for history in dict.fromkeys(histories):
    numbers = [k for k, other in enumerate(histories) if other == history]
    several = len(numbers) > 1
    text = ', '.join(names[k] for k in numbers) if names else _ranges(numbers)
    text = f'{what}{"s" if several else ""} {text} '
    if history:
      text += f'{"are" if several else "is"} {history}'
    else:
      text += f'{"have" if several else "has"} no history'
    if is_live(history):
      text += f': {_knows(history, several)}'
    parts.append(text)
  text = '; '.join(parts)
  return f'{text[0].upper()}{text[1:]}. Do not compare them with each other.'


def _knows(history: str, several: bool = False) -> str:
  who = 'they know' if several else 'it knows'
  if _DELAY in history:
    return f'{who} labels of the test days'
  return f'{who} times of other rows of the test days, and no labels'


def _ranges(numbers: Iterable[int]) -> str:
  """Formats numbers from 0 as people count: `1-3, 5`."""
  texts: list[tuple[int, int]] = []
  for number in numbers:
    if texts and texts[-1][1] == number:
      texts[-1] = texts[-1][0], number + 1
    else:
      texts.append((number + 1, number + 1))
  return ', '.join(
      f'{low}-{high}' if low < high else f'{low}' for low, high in texts
  )
