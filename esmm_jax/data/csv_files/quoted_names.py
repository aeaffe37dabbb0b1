"""Names in one text with commas between, as options of a config hold them.

A name that holds a comma, a colon or blanks at its ends stands in quotes,
single or double: `"user id",'a,b',item`. A quote inside such a name stands
twice.
"""

from esmm_jax.types import InputError

_QUOTES = '"\''


def split(text: str, separator: str = ',', after: str = '=') -> list[str]:
  """Splits a text at a separator that is not in quotes.

  Args:
    text: Quotes count at the beginning of a part, and behind one of `after`.
    separator: One character.
    after: Characters.

  Returns:
    The parts without blanks around them, with their quotes, without empty ones.

  Raises:
    InputError: A quote is not closed.

  >>> split('"a,b":min_count=2, it\\'s,')
  ['"a,b":min_count=2', "it's"]
  """
  parts, part, quote, closed = [], '', '', ''
  for character in text:
    if quote:  # A quote that stands twice closes and opens again.
      closed = character if character == quote else ''
      quote = '' if closed else quote
    elif character in _QUOTES and (
        character == closed or _may_open(part, after)
    ):
      quote, closed = character, ''
    elif character == separator:
      parts.append(part)
      part, closed = '', ''
      continue
    else:
      closed = ''
    part += character
  if quote:
    raise InputError(f'{text!r}: a quote {quote} is not closed.')
  return [p.strip() for p in [*parts, part] if p.strip()]


def _may_open(part: str, after: str) -> bool:
  before = part.rstrip()
  return not before or before[-1] in after


def unquote(text: str) -> str:
  """Returns a name without blanks around it and without its quotes.

  >>> unquote(' "a ""b"" "'), unquote("it's")
  ('a "b" ', "it's")
  """
  text = text.strip()
  quote = text[:1]
  if len(text) < 2 or quote not in _QUOTES or text[-1] != quote:
    return text
  return text[1:-1].replace(quote * 2, quote)


def colon_hint(name: str, part: str) -> str:
  """Returns a clause for `NAME:PART` whose part is no option, KEY=VALUE."""
  if '=' in part:
    return ''
  return f', or put a name with a colon in quotes, \'"{name}:{part}"\''


def split_names(text: str) -> list[str]:
  """Returns the names between commas, without their quotes."""
  return [unquote(part) for part in split(text)]
