"""The inputs of the networks, as something to differentiate by.

The gradient of the embeddings of each example is that of their rows before it
is scattered: by it the gradients of several losses are combined first, and
scattered once.
"""

from collections.abc import Iterator, Sequence
import contextlib
from typing import Any

from esmm_jax.models import Architecture
from esmm_jax.models.embedding import FeatureEmbedding
from esmm_jax.types import Array, Batch, InputError
import flax.linen as nn
import jax
import jax.numpy as jnp


@contextlib.contextmanager
def added(offsets: Sequence[Array] | None) -> Iterator[None]:
  """Adds to what `FeatureEmbedding` returns while the context is entered.

  Args:
    offsets: For each embedding [B, I]; None adds nothing.
  """

  def add(next_call, args, kwargs, context):
    outputs = next_call(*args, **kwargs)
    if not _embeds(context):
      return outputs
    return [x + more for x, more in zip(outputs, offsets, strict=True)]

  if offsets is None:
    yield
    return
  with nn.intercept_methods(add):
    yield


def _embeds(context: Any) -> bool:
  is_call = context.method_name == '__call__'
  return is_call and isinstance(context.module, FeatureEmbedding)


def embed(
    model: Architecture, net: Any, stats: Any, touched: Array, batch: Batch
) -> list[Array]:
  """Returns the inputs of the networks, [B, I] for each embedding.

  Raises:
    InputError: The model does not embed by `FeatureEmbedding`.
  """
  caught = []

  def catch(next_call, args, kwargs, context):
    outputs = next_call(*args, **kwargs)
    if _embeds(context):
      caught.append(outputs)
    return outputs

  with nn.intercept_methods(catch):  # What follows is not computed.
    model.apply({'params': net, 'batch_stats': stats}, touched, batch)
  if len(caught) != 1:
    raise InputError(
        f"balancing.gram='representation': {type(model).__name__} embeds a"
        f' batch {len(caught)} times by FeatureEmbedding, not once; set'
        " balancing.gram='exact'."
    )
  return caught[0]


def zeros(
    model: Architecture, net: Any, stats: Any, touched: Array, batch: Batch
) -> list[Array]:
  """Returns zeros of the shape of the inputs."""
  shapes = jax.eval_shape(
      lambda *args: embed(model, *args), net, stats, touched, batch
  )
  return [jnp.zeros(s.shape, s.dtype) for s in shapes]
