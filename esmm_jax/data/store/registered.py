"""Names of data sets in TFDS's registry, by which `tfds.builder` finds them."""

import contextlib
from typing import Any

import tensorflow_datasets as tfds


class Registered(tfds.core.DatasetBuilder, skip_registration=True):
  """A builder whose class may be defined again, with the first one's name.

  TFDS refuses a name twice, outside of notebooks. A module of a plugin that
  raised something is imported again once it is mended.
  """

  def __init_subclass__(cls, **kwargs: Any):
    with contextlib.suppress(ValueError):  # Its name is there already.
      super().__init_subclass__(**kwargs)
