"""Leaves of a tree of arrays by their path, small and large ones apart."""

from collections.abc import Mapping
from typing import Any

from esmm_jax.parallel import axes
import jax

# Between the parts of the name of a large array.
JOIN = '.'
Path = tuple[str, ...]


def divided(tree: Any) -> tuple[dict[Path, Any], dict[str, Any]]:
  """Divides a tree: small leaves by path, large ones by name."""
  small, large = {}, {}
  for path, leaf in jax.tree.leaves_with_path(tree):
    if axes.axes_of(path, leaf) == axes.BY_ROW:
      large[JOIN.join(axes.names(path))] = leaf
    else:
      small[axes.names(path)] = leaf
  return small, large


def nested(leaves: Mapping[Path, Any]) -> dict[str, Any]:
  """Builds nested dicts from leaves by path."""
  tree: dict[str, Any] = {}
  for (*folders, name), leaf in leaves.items():
    at = tree
    for folder in folders:
      at = at.setdefault(folder, {})
    at[name] = leaf
  return tree


def flat(tree: Any) -> dict[Path, Any]:
  """Returns the leaves by path; the inverse of `nested`."""
  return {
      axes.names(path): leaf
      for path, leaf in jax.tree.leaves_with_path(tree)
  }


def joined(restored: Mapping[str, Any]) -> dict[Path, Any]:
  """Returns the leaves that were divided, by path.

  Args:
    restored: `arrays`, nested as by `nested`, and `tables` by name.
  """
  return flat(restored['arrays']) | {
      tuple(name.split(JOIN)): array
      for name, array in restored['tables'].items()
  }


def abstract(leaf: Any) -> jax.ShapeDtypeStruct:
  """Returns the shape, dtype and sharding of an array or of its abstraction."""
  return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)
