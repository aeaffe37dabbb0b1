"""Balancing: combines the losses or the gradients of the tasks.

  static   a fixed weight for each term

A method is a function `(gram, losses, counts, state, key, **options)` that
returns the weights of the tasks and its new state. Its signature describes its
options, and `method.Method` says what else it may have. To add one, write a
file and a line in `BALANCERS`.
"""

from collections.abc import MutableMapping

from esmm_jax.balancing import constant as _constant
from esmm_jax.balancing.method import Method
from esmm_jax.plugins.registry import instance_of, Registry

BALANCERS: MutableMapping[str, Method] = Registry(
    'BALANCERS',
    {
        'static': Method(_constant.constant, towers='weighted'),
    },
    instance_of(Method),
)
