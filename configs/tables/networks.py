"""Architectures as points, in the papers' sizes and in small ones for a CPU.

Not a table itself; the two seesaw tables use it.
"""

from typing import Any

from esmm_jax.sweeps.points import fixed, product, Sweep

MODELS = (
    'shared_bottom',
    'shared_embedding',
    'mmoe',
    'ple',
    'dbmtl',
    'aitm',
)
MORE_MODELS = (*MODELS, 'stem', 'adatt')
# Each task's path is about as long and as wide as single_task's 64-32.
SMALL = {
    'single_task': {'tower_units': (64, 32)},
    'shared_embedding': {'tower_units': (64, 32)},
    'shared_bottom': {'shared_units': (64,), 'tower_units': (32,)},
    'mmoe': {'num_experts': 3, 'expert_units': (64,), 'tower_units': (32,)},
    'ple': {
        'levels': 1,
        'num_shared_experts': 1,
        'expert_units': (64,),
        'tower_units': (32,),
    },
    'dbmtl': {
        'shared_units': (64,),
        'tower_units': (32,),
        'relation_units': (16,),
    },
    'aitm': {'tower_units': (64, 32)},
    'esmm': {'tower_units': (64, 32)},
    'stem': {
        'expert_units': (64,),
        'gate_units': (16,),
        'tower_units': (32,),
    },
    'adatt': {
        'levels': 1,
        'num_task_experts': 1,
        'expert_units': (64,),
        'tower_units': (32,),
    },
}


def network(model: str, variant: str, small: bool) -> Sweep:
  """Makes a model's point, with the label @model.

  Args:
    model: A config file's name.
    variant: Of the config.
    small: Whether it has the sizes of `SMALL`, with dimension 8.
  """
  values: dict[str, Any] = {}
  if small:
    sizes = {'embed_dim': 8, **SMALL[model]}
    values = {f'model.{key}': value for key, value in sizes.items()}
  config = f'configs/{model}.py' + (f':{variant}' if variant else '')
  return product(
      fixed('@model', model),
      fixed('config', config),
      *(fixed(key, value) for key, value in values.items()),
  )
