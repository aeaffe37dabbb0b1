"""Checks that a machine is fit to train and that its numbers are right.

  machine    devices, memory, libraries, folders
  numbers    known results computed on the device
  scatters   the speed of additions to one row, on a GPU
  allocator  what becomes of memory that is freed
  compiled   programs that earlier runs compiled
"""
