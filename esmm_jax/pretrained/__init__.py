"""Vectors of a user's file for the values of a column (`model.vectors`).

  options   the key, parsed
  files     reads a file of vectors
  resolve   notes a file's checksum in the config
  aligned   vectors by value -> by id
  beginning puts them into the state before the first step
"""
