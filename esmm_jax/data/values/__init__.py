"""Raw columns, as Arrow arrays, as values of one kind.

  kinds, normalise           the table of all Arrow types; few of them
  texts, numbers, times      identifiers, numbers and labels, times
  lists, list_texts          lists, and what is written for them in one text
  casts, location            casts that lose nothing; positions for messages
  raw_values                 all that the other layers call
"""
