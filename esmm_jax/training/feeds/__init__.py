"""Batches of several devices and of several processes.

  gathering   a batch from rows that lie on the devices
"""
