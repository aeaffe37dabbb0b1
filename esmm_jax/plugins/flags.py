"""Plugins on command lines: they are imported before other keys are read.

The keys of an estimator's options and terms are in a config only once its
plugin is imported.
"""

from collections.abc import Iterable, Sequence

from esmm_jax.plugins import loading

_FLAGS = (f'--config.{loading.KEY}', f'-config.{loading.KEY}')
_OVERRIDE = f'{loading.KEY}='


def from_words(argv: Sequence[str]) -> list[str]:
  """Imports what --config.plugins names.

  Args:
    argv: The program and its arguments.

  Returns:
    The same, with the last such flag alone, as a tuple in Python's form:
    `a.b,c`, `('a.b','c')` and two words are read alike.

  Raises:
    InputError: See `loading.names` and `loading.load`.
  """
  words, rest, value = list(argv[:1]), list(argv[1:]), None
  while rest:
    word = rest.pop(0)
    name, equals, text = word.partition('=')
    if name not in _FLAGS:
      words.append(word)
    else:
      value = text if equals else (rest.pop(0) if rest else '')
  if value is None:
    return words
  modules = loading.names(parsed(value))
  loading.load(modules)
  return [*words, f'{_FLAGS[0]}={modules!r}']


def from_overrides(texts: Iterable[str]) -> None:
  """Imports what --override=plugins=... names.

  Args:
    texts: KEY=VALUE, several.

  Raises:
    InputError: See `loading.names` and `loading.load`.
  """
  for text in texts:
    if text.startswith(_OVERRIDE):
      loading.load(parsed(text.removeprefix(_OVERRIDE)))


def parsed(text: str) -> tuple[str, ...]:
  """Reads the value of a flag: names with commas, or a tuple as Python has it.

  >>> from esmm_jax.plugins import flags
  >>> flags.parsed("('a.b', 'c')"), flags.parsed('a.b,c'), flags.parsed('()')
  (('a.b', 'c'), ('a.b', 'c'), ())

  Raises:
    InputError: See `loading.names`.
  """
  inner = text.strip()
  if inner[:1] + inner[-1:] in ('()', '[]'):
    inner = inner[1:-1]
  if inner in ('', 'None'):
    return ()
  names = [name.strip().strip('\'"') for name in inner.split(',')]
  return loading.names([name for name in names if name])
