"""Reads the buckets of a RawFeature."""

from esmm_jax.easyrec.message import ANY, Message


def cuts(message: Message) -> list[float]:
  """Returns the edges of a feature's buckets, of the number as it is there."""
  low, high = (message.get(n, 0.0, ANY) for n in ('min_val', 'max_val'))
  boundaries = message.numbers('boundaries', float, ANY)
  size = message.get('num_buckets', 0)
  if boundaries and high > low:
    return [low + cut * (high - low) for cut in boundaries]
  if boundaries:
    return boundaries
  if size > 1 and high > low:  # The first one is at the least number.
    return [low + k * (high - low) / size for k in range(size)]
  return []


def edges(message: Message) -> tuple[float, ...]:
  """Returns the edges of the buckets of a number, () if it has none."""
  if message.get('normalizer_fn', ''):
    return ()
  # They are float32 there.
  return tuple(sorted({float(f'{cut:.7g}') + 0.0 for cut in cuts(message)}))
