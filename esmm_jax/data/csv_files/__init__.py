"""CSV files in any form, as UTF-8 whose rows are whole.

  dialect, quoted_names  the form of a file; names in one text
  file_kinds             what a file is, by its first bytes
  records, quote_check   where rows and quotes begin and end
  csv_stream             a file as what pyarrow can read
  csv_rows               line by line, to find where one is damaged
"""
