"""The section `balancing` of a config."""

from collections.abc import Mapping
import dataclasses
from typing import Any, Self

from esmm_jax import signatures
from esmm_jax.balancing import BALANCERS
from esmm_jax.balancing import method as methods
from esmm_jax.options import one_of, Section
from esmm_jax.types import InputError

REPLAY = 'replay'
STATIC = 'static'


@dataclasses.dataclass(frozen=True)
class BalancingOptions(Section, prefix='balancing'):
  """The section `balancing`; all keys may be unset.

  Attributes:
    name: One of `BALANCERS`.
    gram: What the products of gradients are of: 'exact', of all shared
      parameters, or 'representation', of the embeddings of each example alone.
    parts: Whether 'all' shared parameters have one weight of a task, or 'each'
      part (tables, trunk, gates, towers) its own.
    towers: What parameters that one task alone trains get: its 'own' gradient,
      or the 'weighted' one; '' as the method says.
    measure: Whether the gradients of the tasks are compared even where the
      method does not need them.
    terms: The terms that are balanced; () takes all whose weight is not 0.
    of: Folder of a finished run, whose mean weights are replayed.
    options: The method's own that are set.
  """

  name: str = STATIC
  gram: str = one_of('exact', 'representation', default='exact')
  parts: str = one_of('all', 'each', default='all')
  towers: str = one_of('', 'own', 'weighted', default='')
  measure: bool = False
  terms: tuple[str, ...] = ()
  of: str = ''
  options: Mapping[str, Any] = dataclasses.field(default_factory=dict)

  @classmethod
  def read(cls, section: Mapping[str, Any]) -> Self:
    """Reads the section; an unknown method is refused by `bind`.

    Raises:
      InputError: An option is unknown, or its value is not allowed.
    """
    section = {k: v for k, v in section.items() if v is not None}
    ours = {k: section.pop(k) for k in cls.keys() if k in section}
    if 'terms' in ours:
      ours['terms'] = tuple(ours['terms'])
    name = ours.get('name', STATIC)
    if name in BALANCERS:
      allowed = methods.options(BALANCERS[name])
      signatures.check(section, allowed, name, cls.prefix)
    return cls(**ours, options=section)

  @classmethod
  def keys(cls) -> list[str]:
    """Returns the keys that are no options of a method."""
    return [name for name in cls.names() if name != 'options']

  def check(self) -> None:
    if self.parts == 'each' and self.towers == 'weighted':
      raise InputError(
          "balancing.parts='each' weights each part of the shared parameters"
          ' separately, and parameters of a single task belong to no part; set'
          " balancing.towers='own'."
      )
    if (self.name == REPLAY) != bool(self.of):
      raise InputError(
          f'balancing.of is {self.of!r} and balancing.name is {self.name!r};'
          f' set balancing.of, the folder of a finished run, for {REPLAY!r} and'
          ' only for it.'
      )
    for key in ('name', 'of'):
      if not isinstance(getattr(self, key), str):
        raise InputError(f'{self.key(key)} must be a text.')
