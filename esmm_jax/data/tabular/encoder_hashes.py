"""Hashes of an encoder, by which a run knows its own."""

from esmm_jax.checksums import hash_fields, hash_json
from esmm_jax.data.history.state import saved
from esmm_jax.data.tabular.encoder import Encoder
from esmm_jax.data.tabular.unseen import Counts


def hashes(encoder: Encoder, folder: str) -> dict[str, str]:
  """Hashes all that an encoder's folder holds, whatever version wrote it.

  Args:
    encoder: As it was loaded from the folder.
    folder: Where the counts of its log are.

  Returns:
    `encoder_sha256`: of its values and scalings; `encoder_options_sha256`: of
    how it reads its columns, of its schema, of the counts and of its history.

  Raises:
    InputError: The counts or the history are damaged.
  """
  columns = [hash_fields(column) for column in encoder.inputs]
  rest = [columns, hash_fields(encoder.schema), Counts.load(folder).fields]
  if history := saved.sha256(folder):  # Absent before it was an option.
    rest.append(history)
  return {
      'encoder_sha256': encoder.sha256(),
      'encoder_options_sha256': hash_json(rest),
  }
