"""Trains two runs with vectors side by side: ROOT NAME REPLICAS DATA ROWS."""

import os
import sys

from esmm_jax.training.loop import train_replicas

from tests.pretrained import samples
from tests.warm_start import days


def pair(root, name, sizes=(1, 1, 1)):
  """Trains two seeds; returns their folders and their results."""
  mesh = dict(zip(('replicas', 'data', 'rows'), sizes))
  trees = [
      days.config(
          days.write(root, 1), init_seed=k, model__vectors=samples.key(root),
          **{f'run__mesh__{axis}': size for axis, size in mesh.items()})
      for k in range(2)]
  workdirs = [os.path.join(root, f'{name} {k}') for k in range(2)]
  results = train_replicas(
      trees, workdirs, os.path.join(root, 'data'),
      os.path.join(root, f'{name} home'))
  return workdirs, results


if __name__ == '__main__':
  pair(sys.argv[1], sys.argv[2], tuple(map(int, sys.argv[3:])))
