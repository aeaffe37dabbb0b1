"""The share of this machine that each of several programs gets."""

import glob
import importlib.util
import os
from typing import NamedTuple

from esmm_jax.cores import cores

_FRACTION = 0.9  # Of a GPU's memory, where programs share it.
# Whoever of them is installed, JAX has GPUs.
_PLUGINS = ('jax_cuda12_plugin', 'jax_cuda13_plugin')


class Share(NamedTuple):
  """A share.

  Attributes:
    environment: Variables of the program.
    cores: Numbers of the cores for it; () for all of them.
  """

  environment: dict[str, str]
  cores: tuple[int, ...] = ()


def shares(num: int) -> list[Share]:
  """Shares this machine out, its GPUs or else its cores.

  Sums of floats on CPUs depend on the number of threads, and that on the
  cores: a program with a share of them has as many threads as one with all.

  Args:
    num: Of programs.
  """
  devices = gpus()
  if devices:
    beside = -(-num // len(devices))
    more = {}
    if beside > 1 and 'XLA_PYTHON_CLIENT_MEM_FRACTION' not in os.environ:
      more['XLA_PYTHON_CLIENT_MEM_FRACTION'] = f'{_FRACTION / beside:.3f}'
    return [
        Share({'CUDA_VISIBLE_DEVICES': devices[k % len(devices)], **more})
        for k in range(num)
    ]
  every = _core_numbers()
  return [
      Share(threads(), tuple(every[k::num] or every[k % len(every) :][:1]))
      for k in range(num)
  ]


def threads() -> dict[str, str]:
  """Returns the environment in which XLA has a thread for each core of here."""
  return {'NPROC': os.environ.get('NPROC') or str(cores())}


def gpus() -> list[str]:
  """Returns the GPUs that JAX would use, as CUDA_VISIBLE_DEVICES has them."""
  if not any(map(importlib.util.find_spec, _PLUGINS)):
    return []
  platforms = os.environ.get('JAX_PLATFORMS')
  if platforms and not {'cuda', 'gpu'} & set(platforms.split(',')):
    return []
  visible = os.environ.get('CUDA_VISIBLE_DEVICES')
  if visible is not None:
    return [text.strip() for text in visible.split(',') if text.strip()]
  return [str(k) for k in range(len(glob.glob('/dev/nvidia[0-9]*')))]


def _core_numbers() -> list[int]:
  try:
    return sorted(os.sched_getaffinity(0))
  except AttributeError:  # Not on Linux, where no core is chosen.
    return list(range(cores()))
