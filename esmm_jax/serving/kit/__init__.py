"""Raw rows of an exported model, and its scores over HTTP.

An export carries these modules, and those that they import, as `esmm_kit`: they
work without this package.

  rows       rows as people have them -> the inputs of the program (no JAX)
  program    the exported program, compiled for batches of a few sizes
  server     its scores over HTTP, by the standard library
  handler    the requests of one connection
  json_rows  the rows of a request, and why they cannot be read
  command    the flags of `serve.py`
  measure    the time that requests take
  files      writes the modules, `encode.py` and `serve.py` into an export
"""
