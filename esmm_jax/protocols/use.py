"""What a run does with its protocol: data options, and the summary.

Explicit settings win. An option of `config.dataset` is unset when it is None,
and the splits of data sets with protocols are unset by default; '' is set, and
means no such split.
"""

from collections.abc import Mapping
from typing import Any

from esmm_jax.protocols import PROTOCOLS
from esmm_jax.protocols.protocol import Protocol, SPLITS
from esmm_jax.types import InputError, suggest

_DEFAULT_SPLITS = {f'{split}_split': split for split in SPLITS}


def named(name: str) -> Protocol | None:
  """The protocol of `config.protocol`; None for ''.

  Raises:
    InputError: There is none of that name.
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
  """A config's `dataset` section with what was unset filled in.

  Applied twice it gives the same again.

  Args:
    protocol: As `named` gives it; without one, unset splits are train, valid
      and test and the rest stays as it is.
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
  """The config with its dataset section filled in by its protocol.

  Args:
    config: A ConfigDict; is not changed.

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
  """The options that the protocol says and a run has otherwise."""
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
  """A run in the protocol's words, for results.json.

  Args:
    protocol: The run's.
    results: All that results.json has so far, with `test/...` keys.
    dataset_options: The section that the run was made of.

  Returns:
    `protocol` -> its name, `protocol/LABEL` -> value of each measure that the
    run has, `protocol/missing` -> labels of the others and `protocol/changed`
    -> options that are not the protocol's, where there are any. {} without a
    protocol.
  """
  if protocol is None:
    return {}
  found: dict[str, Any] = {'protocol': protocol.name}
  missing = []
  for measure in protocol.metrics:
    key = f'test/{measure.key}'
    if key in results:
      found[f'protocol/{measure.label}'] = results[key]
    else:
      missing.append(measure.label)
  if missing:
    found['protocol/missing'] = missing
  if others := changed(protocol, dataset_options):
    found['protocol/changed'] = others
  return found


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
