"""Batches of several devices and of several processes.

  gathering  a batch from rows that lie on the devices
  together   a batch of which each process has read a part
"""
