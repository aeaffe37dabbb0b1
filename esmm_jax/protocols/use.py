"""The use of a protocol by a run: data options, and the summary.

Explicit settings win. An option of `config.dataset` is unset when it is None,
and the splits of data sets with protocols are unset by default; '' is a set
value, for no such split.
"""

from collections.abc import Mapping
from typing import Any

from esmm_jax.protocols import PROTOCOLS
from esmm_jax.protocols.protocol import Protocol, SPLITS
from esmm_jax.types import InputError, suggest

_DEFAULT_SPLITS = {f'{split}_split': split for split in SPLITS}


def named(name: str) -> Protocol | None:
  """Returns the protocol of `config.protocol`; None for ''.

  Raises:
    InputError: There is no protocol of that name.
  """
  if not name:
    return None
  if name in PROTOCOLS:
    return PROTOCOLS[name]
  raise InputError(
      f'protocol is {name!r}, which is not known. {suggest(name, PROTOCOLS)}'
      " Leave it '' for none."
  )


def apply(
    protocol: Protocol | None, dataset_options: Mapping[str, Any]
) -> dict[str, Any]:
  """Fills in the unset options of a config's `dataset` section.

  Idempotent: a filled section does not change.

  Args:
    protocol: As `named` returns it; without one, unset splits become train,
      valid and test, and the rest does not change.
    dataset_options: The section, None where unset.

  Raises:
    InputError: The protocol is of another data set, or has an option that the
      section lacks.
  """
  options = dict(dataset_options)
  if protocol is None:
    filling = _DEFAULT_SPLITS
  else:
    _check_dataset(protocol, options)
    filling = protocol.options()
  for key, value in filling.items():
    if options.get(key) is None:
      options[key] = value
  return options


def resolve(config: Any) -> Any:
  """Returns the config with its dataset section filled in by its protocol.

  Args:
    config: A ConfigDict; it is not modified.

  Raises:
    InputError: As `named` and `apply`.
  """
  filled = config.copy_and_resolve_references()
  options = apply(named(filled.protocol), filled.dataset.to_dict())
  filled.dataset.update(options)
  return filled


def changed(
    protocol: Protocol, dataset_options: Mapping[str, Any]
) -> dict[str, Any]:
  """Returns the options of the protocol that a run has changed."""
  return {
      key: dataset_options.get(key)
      for key, value in protocol.options().items()
      if dataset_options.get(key) != value
  }


def summary(
    protocol: Protocol | None,
    results: Mapping[str, Any],
    dataset_options: Mapping[str, Any],
) -> dict[str, Any]:
  """Summarises a run in the terms of its protocol, for results.json.

  Args:
    protocol: The run's protocol.
    results: The content of results.json so far, with `test/...` keys.
    dataset_options: The run's `dataset` section.

  Returns:
    `protocol` -> its name, `protocol/LABEL` -> value of each measure that the
    run has, `protocol/missing` -> labels of the others and `protocol/changed`
    -> options that differ from the protocol's, if there are any. {} without a
    protocol.
  """
  if protocol is None:
    return {}
  entries: dict[str, Any] = {'protocol': protocol.name}
  missing = []
  for measure in protocol.metrics:
    key = f'test/{measure.key}'
    if key in results:
      entries[f'protocol/{measure.label}'] = results[key]
    else:
      missing.append(measure.label)
  if missing:
    entries['protocol/missing'] = missing
  if others := changed(protocol, dataset_options):
    entries['protocol/changed'] = others
  return entries


def _check_dataset(protocol: Protocol, options: Mapping[str, Any]) -> None:
  name = options.get('name')
  if name != protocol.dataset_name:
    raise InputError(
        f'protocol is {protocol.name!r}, which is of the data set'
        f' {protocol.dataset_name!r}, and dataset.name is {name!r}. Take the'
        f" config's variant {protocol.dataset_name!r}, or set protocol=''."
    )
  for key in protocol.options():
    if key not in options:
      raise InputError(
          f'protocol {protocol.name!r} sets dataset.{key}, which the config'
          f' lacks. {suggest(key, options)}'
      )
