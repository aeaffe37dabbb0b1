"""Raw columns as values of one kind: what the modules beside have for others.

The table of all types is in `kinds`; one text for one value is `texts`.
"""

from esmm_jax.data.files.casts import cast, refuse
from esmm_jax.data.files.lists import flatten, Lists, lists, SEPARATOR
from esmm_jax.data.files.location import Location
from esmm_jax.data.files.normalise import arrow
from esmm_jax.data.files.numbers import floats, labels, LARGEST, whole
from esmm_jax.data.files.texts import canonical, texts
from esmm_jax.data.files.times import boundary, NOUNS, reached, Times, times

__all__ = (
    'LARGEST',
    'NOUNS',
    'SEPARATOR',
    'Lists',
    'Location',
    'Times',
    'arrow',
    'boundary',
    'canonical',
    'cast',
    'flatten',
    'floats',
    'labels',
    'lists',
    'reached',
    'refuse',
    'texts',
    'times',
    'whole',
)
