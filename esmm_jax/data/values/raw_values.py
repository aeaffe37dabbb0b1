"""Raw columns as values of one kind: what the modules beside have for others.

The table of all types is in `kinds`; one text for one value is `texts`.
"""

from esmm_jax.data.values import time_forms
from esmm_jax.data.values.casts import cast, refuse
from esmm_jax.data.values.lists import flatten, Lists, lists, SEPARATOR
from esmm_jax.data.values.location import Location
from esmm_jax.data.values.normalise import arrow
from esmm_jax.data.values.numbers import floats, labels, LARGEST, whole
from esmm_jax.data.values.texts import canonical, texts
from esmm_jax.data.values.times import boundary, NOUNS, reached, require_exact
from esmm_jax.data.values.times import Times, times

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
    'require_exact',
    'texts',
    'time_forms',
    'times',
    'whole',
)
