"""Makes texts of files safe to print.

Names of files, headers and configs are texts of others. In a terminal a control
character among them moves the cursor, sets the title of the window or hides
what stands before it.
"""

import unicodedata


def printable(text: str) -> str:
  r"""Returns a text with escapes for what a terminal would not show as it is.

  Control characters, those that change the direction of writing, parts of a
  character and unassigned ones become escapes of Python. Line feeds, tabs and
  blanks of all widths stay.

  >>> printable('log\x1b[2J of day\t1'), printable('na\u202eme')
  ('log\\x1b[2J of day\t1', 'na\\u202eme')

  Args:
    text: Of a message, a line or several.
  """
  if text.isprintable():
    return text
  return ''.join(c if _is_shown(c) else _escape(c) for c in text)


def in_one_line(text: str) -> str:
  r"""Returns a text as `printable` does, with one blank for each gap in it.

  >>> in_one_line('a\nb\r  c')
  'a b c'

  Args:
    text: Of a message, which may hold line breaks of any kind.
  """
  return printable(' '.join(text.split()))


def _is_shown(c: str) -> bool:
  blank = c in '\n\t' or unicodedata.category(c) == 'Zs'
  return blank or c.isprintable()


def _escape(c: str) -> str:
  return c.encode('unicode_escape').decode('ascii')
