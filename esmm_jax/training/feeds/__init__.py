"""Batches of several devices and of several processes.

  gathering  a batch from rows that lie on the devices
  traffic    the bytes that are exchanged in a step
  together   a batch of which each process has read a part
"""
