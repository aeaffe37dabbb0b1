"""The contract of an estimator: the parts, its options, its binding to a run.

    Estimator   a function with what it needs, as `ESTIMATORS` lists them
    Needs       heads, truth columns and predictions of a frozen run
    options     the options of a function, read from its signature
    bind        an estimator with its options and tasks: a `Bound`
"""

from esmm_jax.estimators.contract.binding import bind, Bound
from esmm_jax.estimators.contract.estimator import Estimator, Needs, options
from esmm_jax.signatures import Option

__all__ = ['bind', 'Bound', 'Estimator', 'Needs', 'Option', 'options']
