"""The passes over the log of KuaiRand, by part.

  parts   lines of a log file, which different workers read
  read    text -> columns in files, checked
  count   values and labels, on the training rows; columns of the history
  encode  rows -> the columns of their split

In come the files and an engine; a pass does each part and adds the parts up in
their order, so that what comes out has the bits of one part, whoever did it.
"""
