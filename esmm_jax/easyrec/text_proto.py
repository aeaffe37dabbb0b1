"""Reads the text form of protocol buffers, without their definitions.

https://protobuf.dev/reference/protobuf/textformat-spec: fields `name: value`
and `name { ... }`, lists, comments, strings in parts. Types are those of the
text.
"""

from collections.abc import Iterator
import re
from typing import Any

from esmm_jax.easyrec.message import Field, Message, Word
from esmm_jax.types import InputError

_TOKEN = re.compile(
    r"""(?P<skip>[\s]+|\#[^\n]*)
    |(?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
    |(?P<number>[-+]?(?:0[xX][0-9a-fA-F]+
        |(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)[fF]?(?![\w.]))
    |(?P<name>-?[A-Za-z_][\w.]*)
    |(?P<mark>[{}<>\[\]:,;])""",
    re.VERBOSE,
)
_ESCAPES = {
    'n': '\n', 't': '\t', 'r': '\r', 'a': '\a', 'b': '\b', 'f': '\f', 'v': '\v',
}
_ESCAPE = re.compile(r'\\([0-7]{1,3}|[xX][0-9a-fA-F]{1,2}|.)')
_WORDS = {'true': True, 'True': True, 'false': False, 'False': False}


def parse(text: str) -> Message:
  """Reads a message.

  Raises:
    InputError: The text has another form; names the line.
  """
  tokens = list(_tokens(text))
  try:
    message, end = _message(tokens, 0, '', 1)
  except RecursionError as e:
    raise InputError('its messages are nested too deeply.') from e
  assert end == len(tokens) - 1
  return message


def _tokens(text: str) -> Iterator[tuple[str, str, int]]:
  """Yields (kind, text, line) of each token, at last ('end', '', line)."""
  at, line = 0, 1
  while at < len(text):
    match = _TOKEN.match(text, at)
    if not match:
      raise InputError(f'line {line}: {text[at : at + 20].split()[:1]} is odd.')
    kind, part = match.lastgroup, match.group()
    if kind != 'skip':
      yield kind, part, line
    line += part.count('\n')
    at = match.end()
  yield 'end', '', line


def _message(
    tokens: list[tuple[str, str, int]], at: int, closing: str, line: int
) -> tuple[Message, int]:
  """Parses fields up to `closing`; returns them and its index."""
  fields: list[Field] = []
  while True:
    kind, name, here = tokens[at]
    if kind == ('mark' if closing else 'end') and name == closing:
      return Message(fields, line), at
    if kind != 'name':
      what = f'line {here}: {name!r}' if name else 'the end'
      begun = ''
      if closing:
        begun = f" of what begins in line {line}, or '{closing}'"
      raise InputError(f'{what} is found where a field{begun} must be.')
    at += 1
    colon = tokens[at][1] == ':'
    at += colon
    values, at = _values(tokens, at, colon, name)
    fields += [Field(name, value, here) for value in values]
    if tokens[at][0] == 'mark' and tokens[at][1] in ',;':
      at += 1


def _values(
    tokens: list[tuple[str, str, int]], at: int, colon: bool, name: str
) -> tuple[list[Any], int]:
  """Parses the value of a field, or those of a list; returns the next index."""
  kind, text, line = tokens[at]
  if kind == 'mark' and text in '{<':
    message, at = _message(tokens, at + 1, '}' if text == '{' else '>', line)
    return [message], at + 1
  if kind == 'mark' and text == '[' and (colon or tokens[at + 1][1] in '{<'):
    values: list[Any] = []
    at += 1
    while tokens[at][1] != ']' or tokens[at][0] != 'mark':
      # Only messages may stand without a colon before them.
      more, at = _values(tokens, at, colon, name)
      values += more
      if tokens[at][:2] == ('mark', ','):
        at += 1
      elif tokens[at][:2] != ('mark', ']'):
        raise InputError(
            f'line {tokens[at][2]}: the list of {name} has no , or ] here.')
    return values, at + 1
  if not colon or kind not in ('string', 'number', 'name'):
    raise InputError(f'line {line}: {name} has no value.')
  if kind == 'string':
    parts = []
    while tokens[at][0] == 'string':
      parts.append(_unescaped(tokens[at][1][1:-1]))
      at += 1
    return [''.join(parts)], at
  if kind == 'number':
    return [_number(text)], at + 1
  return [_WORDS.get(text, Word(text))], at + 1


def _number(text: str) -> int | float:
  if text.lower().lstrip('+-').startswith('0x'):
    return int(text, 16)
  try:
    return int(text)
  except ValueError:
    return float(text.rstrip('fF'))


def _unescaped(text: str) -> str:
  return _ESCAPE.sub(_character, text)


def _character(match: re.Match[str]) -> str:
  """Returns what an escape stands for: \\n, \\x01 and \\001 too."""
  text = match.group(1)
  if text[0] in '01234567':
    return chr(int(text, 8) & 0xFF)
  if text[0] in 'xX' and len(text) > 1:
    return chr(int(text[1:], 16))
  return _ESCAPES.get(text, text)
