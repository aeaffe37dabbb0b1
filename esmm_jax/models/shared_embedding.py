"""Towers on one embedding: the network of ESMM."""

from collections.abc import Sequence

from esmm_jax.models.architecture import Architecture
from esmm_jax.models.embedding import field_columns
from esmm_jax.types import Array, Batch, InputError
import flax.linen as nn
import jax.numpy as jnp
import numpy as np


class SharedEmbedding(Architecture):
  """Towers that share the embedding table only.

      x = [pool(field) for each field]            # [B, F * D + N]
      ctr = tower_ctr(x),  cvr = tower_cvr(x)     # [B] each

  Each tower has its own output bias: click and conversion have different rates.

  With `groups` each group of fields first passes through a network of its own,
  which the towers share; fields in no group are appended unchanged.

  Attributes:
    tower_units: Hidden widths of each tower. The paper says "360 x 200 x 80".
    share_embeddings: False gives each tower its own embedding: ESMM-NS.
    groups: Groups of field names, EasyRec's `groups`.
    group_units: Hidden widths of each group's network.

  References:
    Ma et al., Entire Space Multi-Task Model, SIGIR 2018, Figure 2, section 3.2
    for the widths. The paper's last layer has 2 units and a softmax; one logit
    is the same function. The groups are not in the paper but in EasyRec
    (easy_rec/python/model/esmm.py).
  """

  tower_units: Sequence[int] = (360, 200, 80)
  share_embeddings: bool = True
  groups: Sequence[Sequence[str]] = ()
  group_units: Sequence[int] = (256, 128)

  @property
  def num_tables(self) -> int:
    """The number of embeddings of an id: 1, or 1 for each task."""
    return 1 if self.share_embeddings else len(self.tasks)

  @nn.compact
  def __call__(
      self, table: Array, batch: Batch, *, train: bool = False
  ) -> dict[str, Array]:
    """Computes the outputs of a batch.

    Args:
      table: float32 [U, num_tables * (D + L)], the rows that `batch.slots`
        index.
      batch: B examples.
      train: Acts as in training (dropout, norms).

    Returns:
      Task -> log-odds (or the value of a regression), float32 [B].

    Raises:
      InputError: `groups` is malformed, or does not go with other options.
    """
    embedded = self.inputs(table, batch)
    x = embedded.vectors
    if self.groups:
      widened = self.cross_layers or self.interaction == 'fm'
      if not self.share_embeddings or widened:
        raise InputError(
            'model.groups has networks that the towers share, on fields that'
            ' are still apart; it needs model.share_embeddings=True,'
            " model.cross_layers=0, and no model.interaction='fm'."
        )
      x = [self._grouped(x[0], batch, train)]
    inputs = {t: x[k % len(x)] for k, t in enumerate(self.tasks)}
    return embedded.added(self.run_towers(inputs, batch.where, train))

  def _grouped(self, x: Array, batch: Batch, train: bool) -> Array:
    """Replaces the groups' fields in x [B, F * D + N] by network outputs."""
    columns = field_columns(self.schema, x.shape[-1], batch.vectors)
    seen, parts = set(), []
    for k, names in enumerate(self.groups):
      if not isinstance(names, (tuple, list)) or not names:
        raise InputError(
            f'model.groups has {names!r}; a group is a tuple of field names,'
            " such as (('user', 'age'), ('item',))."
        )
      for name in names:
        self.schema.field(name)  # Raises where there is no such field.
        if name in seen:
          raise InputError(f'model.groups has field {name!r} twice.')
        seen.add(name)
      index = np.concatenate([columns[name] for name in names])
      network = self.mlp(self.group_units, f'shared_group_{k}')
      parts.append(network(x[:, index], batch.where, train))
    rest = [c for name, c in columns.items() if name not in seen]
    if rest:
      parts.append(x[:, np.concatenate(rest)].astype(parts[0].dtype))
    return jnp.concatenate(parts, axis=-1)
