"""Is this machine fit to train, and are its numbers right?

  machine    devices, memory, libraries, folders
  numbers    known results computed on each device
  allocator  how the C library returns memory
"""
