"""Converts raw columns to values of one kind: the names of the modules beside.

An identifier is a text, however it was stored: 7, 7.0 and ' 7' are '7', so that
a CSV file and a Parquet file of the same log give the same ids.
"""

from esmm_jax.data.files.casts import cast, refuse
from esmm_jax.data.files.lists import flatten, lists, SEPARATOR
from esmm_jax.data.files.location import Location
from esmm_jax.data.files.normalise import arrow
from esmm_jax.data.files.numbers import floats, labels
from esmm_jax.data.files.texts import texts
from esmm_jax.data.files.times import times

__all__ = (
    'SEPARATOR',
    'Location',
    'arrow',
    'cast',
    'flatten',
    'floats',
    'labels',
    'lists',
    'refuse',
    'texts',
    'times',
)
