"""Architectures: features -> one log-odds for each task.

A model is a Linen module `(table, batch, train) -> {task: logits [B]}` with a
`schema` and `num_tables`. It knows no loss. To add one: a file, and a line in
`MODELS`.
"""

from esmm_jax.models.shared_embedding import SharedEmbedding

MODELS = {
    'shared_embedding': SharedEmbedding,
}
