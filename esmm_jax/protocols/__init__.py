"""Published set-ups that results can be compared under: `config.protocol`.

A protocol fixes split, fields, metrics and their spaces, and lists the
published numbers and our deviations. To add one: a file with a `PROTOCOL`, and
a line in `PROTOCOLS`. `configs/tables/protocols.py` makes a results table.

`use` fills in a config and summarises a run's results, `scoring` computes the
metrics that only a protocol has. No jax here.
"""

from esmm_jax.protocols import aitm2021 as _aitm2021
from esmm_jax.protocols import easyrec10m as _easyrec10m
from esmm_jax.protocols import esmm2018 as _esmm2018
from esmm_jax.protocols import nise as _nise
from esmm_jax.protocols.protocol import Protocol

PROTOCOLS: dict[str, Protocol] = {
    'esmm2018': _esmm2018.PROTOCOL,
    'easyrec10m': _easyrec10m.PROTOCOL,
    'aitm2021': _aitm2021.PROTOCOL,
    'nise': _nise.PROTOCOL,
}
