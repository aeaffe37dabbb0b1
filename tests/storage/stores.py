"""Names on a store in the memory of this process, and faults of it."""

import fsspec


def names(url):
  """The names below a URL in memory."""
  fs = fsspec.filesystem('memory')
  root = url.removeprefix('memory:/')
  return sorted(p.removeprefix(root + '/') for p in fs.find(root))


class Failing:
  """Makes the first `times` calls of a method of fsspec's memory fail.

  Attributes:
    calls: How often it was called.
  """

  def __init__(self, monkeypatch, method, error, times):
    self.calls = 0
    cls = type(fsspec.filesystem('memory'))
    real = getattr(cls, method)

    def call(fs, *args, **kwargs):
      self.calls += 1
      if self.calls <= times:
        raise error
      return real(fs, *args, **kwargs)

    monkeypatch.setattr(cls, method, call)
