"""Names of columns and separators, as options of `dataset` write them."""

# Separators that have a name, because options stand between commas and colons.
_SPELLED = {
    ',': 'comma', ':': 'colon', '=': 'equals', ' ': 'space', '\t': 'tab',
    '\n': 'newline',
}


def quoted(name: str) -> str:
  """Returns the name of a column as an option of the dataset section has it.

  >>> quoted('user_id'), quoted('user:token')
  ('user_id', '"user:token"')
  """
  if not set(name) & set(',:" '):
    return name
  doubled = name.replace('"', '""')
  return f'"{doubled}"'


def quoted_part(name: str) -> str:
  """Returns the name of a column as a cross has it."""
  return f'"{name}"' if '*' in name and '"' not in name else quoted(name)


def option_text(separator: str) -> str:
  r"""Returns a separator as an option of a column names it.

  >>> option_text(';'), option_text(':'), option_text('\x1d')
  (';', 'colon', '\\x1d')
  """
  if separator in _SPELLED:
    return _SPELLED[separator]
  plain = separator.isascii() and separator.isprintable()
  if plain and not set(separator) & set(',:=\\ '):
    return separator
  return ''.join(f'\\x{ord(c):02x}' for c in separator)
