"""Balancing: combines the losses or the gradients of the tasks.

  static     a fixed weight for each term
  replay     the mean weights of a finished run

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
  pcd        the primary task's, changed as little as the others need

Of these and a memory of them:

  gradvac      no angle wider than it usually is
  metabalance  norms nearer to that of one task

Others, most of the losses:

  random        RLW: random weights in every step
  uncertainty   UW: 1 / L_i, learned
  imtl_l        IMTL-L: the same, of a loss twice as large
  dwa           DWA: more for losses that fall more slowly
  gradnorm      norms of gradients alike, larger for tasks that lag behind
  famo          all losses shall fall at the same relative rate
  stch          a smooth form of the largest loss

A method is a function `(gram, losses, counts, state, key, **options)` that
returns the weights of the tasks and its new state. Its signature describes its
options, and `method.Method` says what else it may have. To add one, write a
file and a line in `BALANCERS`.
"""

from collections.abc import MutableMapping

from esmm_jax.balancing import constant as _constant
from esmm_jax.balancing import replay as _replay
from esmm_jax.balancing.by_gradients import aligned as _aligned
from esmm_jax.balancing.by_gradients import cagrad as _cagrad
from esmm_jax.balancing.by_gradients import dual_projection as _dual_projection
from esmm_jax.balancing.by_gradients import fairgrad as _fairgrad
from esmm_jax.balancing.by_gradients import gradvac as _gradvac
from esmm_jax.balancing.by_gradients import imtl_g as _imtl_g
from esmm_jax.balancing.by_gradients import metabalance as _metabalance
from esmm_jax.balancing.by_gradients import mgda as _mgda
from esmm_jax.balancing.by_gradients import nash as _nash
from esmm_jax.balancing.by_gradients import pcd as _pcd
from esmm_jax.balancing.by_gradients import pcgrad as _pcgrad
from esmm_jax.balancing.by_gradients import upgrad as _upgrad
from esmm_jax.balancing.by_losses import dwa as _dwa
from esmm_jax.balancing.by_losses import famo as _famo
from esmm_jax.balancing.by_losses import gradnorm as _gradnorm
from esmm_jax.balancing.by_losses import imtl_l as _imtl_l
from esmm_jax.balancing.by_losses import random_weights as _random_weights
from esmm_jax.balancing.by_losses import stch as _stch
from esmm_jax.balancing.by_losses import uncertainty as _uncertainty
from esmm_jax.balancing.method import Method
from esmm_jax.plugins.registry import instance_of, Registry

BALANCERS: MutableMapping[str, Method] = Registry(
    'BALANCERS',
    {
        'static': Method(_constant.constant, towers='weighted'),
        'replay': Method(_replay.replay, _replay.init),
        'pcgrad': Method(_pcgrad.pcgrad),
        'upgrad': Method(_upgrad.upgrad),
        'dualproj': Method(_dual_projection.dual_projection),
        'mgda': Method(_mgda.mgda),
        'cagrad': Method(_cagrad.cagrad),
        'imtl_g': Method(_imtl_g.imtl_g),
        'nash': Method(_nash.nash, towers='weighted'),
        'fairgrad': Method(_fairgrad.fairgrad, towers='weighted'),
        'aligned': Method(_aligned.aligned),
        'gradvac': Method(_gradvac.gradvac, _gradvac.init),
        'metabalance': Method(_metabalance.metabalance, _metabalance.init),
        'pcd': Method(_pcd.pcd, _pcd.init),
        'random': Method(_random_weights.random, towers='weighted'),
        'uncertainty': Method(
            _uncertainty.uncertainty, _uncertainty.init, towers='weighted'
        ),
        'imtl_l': Method(
            _imtl_l.imtl_l, _uncertainty.init, towers='weighted'
        ),
        'dwa': Method(_dwa.dwa, _dwa.init, towers='weighted'),
        'gradnorm': Method(
            _gradnorm.gradnorm, _gradnorm.init, towers='weighted'
        ),
        'famo': Method(
            _famo.famo, _famo.init, _famo.after, towers='weighted'
        ),
        'stch': Method(_stch.stch, _stch.init, towers='weighted'),
    },
    instance_of(Method),
)
