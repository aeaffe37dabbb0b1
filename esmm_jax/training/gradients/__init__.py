"""Gradients of the loss of every replica.

  replicas    of all replicas, by the next two
  objective   the loss of one replica on a batch
  balanced    its gradient, with static weights or those of a method
  parts       sums over the parts of a batch
  inputs      the networks' inputs, as something to differentiate by
  reach       the parameters that the gradient of a term reaches
  shared      those that several tasks train
  each        the gradients of the tasks, their products, their weighed sum
  weighing    asks the method for weights
"""

from esmm_jax.training.gradients.replicas import Gradients, gradients, losses

__all__ = ['Gradients', 'gradients', 'losses']
