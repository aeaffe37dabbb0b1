"""Files and folders on object stores, by fsspec: `s3://`, `gs://` and others.

In reading order:

  faults     which errors are tried again, and what is said of the others
  remote     one object: read, write, copy; whole or not at all
  snapshots  a folder of files as one: its list, written last, makes it valid
  cache      folders of this machine that hold copies
"""
