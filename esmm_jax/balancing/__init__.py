"""Balancing: combines the losses or the gradients of the tasks.

  static     a fixed weight for each term

Of the gradients' products:

  pcgrad     each gradient without its parts against the others
  upgrad     each gradient projected so that it harms none
  dualproj   the mean gradient projected so that it harms none
  mgda       the shortest convex combination
  cagrad     the best for the worst task, near the mean gradient
  imtl_g     equal parts along all gradients
  nash       the bargain: the greatest product of gains
  fairgrad   the greatest alpha-fair utility of gains
  aligned    the mean of gradients made orthogonal and of one norm

A method is a function `(gram, losses, counts, state, key, **options)` that
returns the weights of the tasks and its new state. Its signature describes its
options, and `method.Method` says what else it may have. To add one, write a
file and a line in `BALANCERS`.
"""

from collections.abc import MutableMapping

from esmm_jax.balancing import aligned as _aligned
from esmm_jax.balancing import cagrad as _cagrad
from esmm_jax.balancing import constant as _constant
from esmm_jax.balancing import dual_projection as _dual_projection
from esmm_jax.balancing import fairgrad as _fairgrad
from esmm_jax.balancing import imtl_g as _imtl_g
from esmm_jax.balancing import mgda as _mgda
from esmm_jax.balancing import nash as _nash
from esmm_jax.balancing import pcgrad as _pcgrad
from esmm_jax.balancing import upgrad as _upgrad
from esmm_jax.balancing.method import Method
from esmm_jax.plugins.registry import instance_of, Registry

BALANCERS: MutableMapping[str, Method] = Registry(
    'BALANCERS',
    {
        'static': Method(_constant.constant, towers='weighted'),
        'pcgrad': Method(_pcgrad.pcgrad),
        'upgrad': Method(_upgrad.upgrad),
        'dualproj': Method(_dual_projection.dual_projection),
        'mgda': Method(_mgda.mgda),
        'cagrad': Method(_cagrad.cagrad),
        'imtl_g': Method(_imtl_g.imtl_g),
        'nash': Method(_nash.nash, towers='weighted'),
        'fairgrad': Method(_fairgrad.fairgrad, towers='weighted'),
        'aligned': Method(_aligned.aligned),
    },
    instance_of(Method),
)
