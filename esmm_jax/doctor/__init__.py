"""Checks that a machine is fit to train and that its numbers are right.

  machine    devices, memory, libraries, folders
  numbers    known results computed on the device
  allocator  settings of the C library that keep freed memory
"""
