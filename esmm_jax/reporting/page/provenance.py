"""The section of a page that tells how a run was made; how it resumes."""

from collections.abc import Mapping
from typing import Any

from esmm_jax.entry.commands import command
from esmm_jax.reporting.page import refits
from esmm_jax.reporting.page.parts import Code, Section, Terms, Text
from esmm_jax.reporting.page.sections import seed_of
from esmm_jax.sweeps.saved_runs import SavedRun
from esmm_jax.workdir.folder import flatten


def made_by(run: SavedRun, manifest: Mapping[str, Any] | None) -> Section:
  """Shows command, commit, device, data, versions, seed and config."""
  manifest = manifest or {}
  results = run.results or {}
  items, commands = [], []
  for entry in run.origin:
    commands.append(entry.get('command', ''))
  parts: list[Any] = []
  if any(commands):
    parts.append(Code('\n'.join(dict.fromkeys(filter(None, commands)))))
  else:
    parts.append(Text('The command was not recorded; the config is below.'))
  for name in ('commit', 'device', 'data'):
    values = dict.fromkeys(e[name] for e in run.origin if e.get(name))
    items.append((name, ' then '.join(values)))
  if not items[-1][1]:
    items[-1] = ('data', manifest.get('data', ''))
  items.append(('history', run.history))
  items.append(('seed', str(seed_of(run))))
  versions = results.get('versions') or manifest.get('versions') or {}
  items.append(('versions', ', '.join(f'{k} {v}' for k, v in versions.items())))
  for key, name, form in (
      ('steps', 'steps', '{:,}'),
      ('selected_step', 'parameters of step', '{:,}'),
      ('skipped_steps', 'steps skipped', '{:,}'),
      ('num_params', 'parameters', '{:,}'),
      ('num_network_params', 'of the network', '{:,}'),
      ('flops_per_example', 'FLOPs an example', '{:,.0f}'),
      ('examples_per_second', 'examples a second', '{:,.0f}'),
      ('train_seconds', 'training, seconds', '{:,.0f}'),
      ('replicas', 'trained side by side', '{:,} run(s)'),
  ):
    if results.get(key) is not None:
      items.append((name, form.format(results[key])))
  items += refits.items(run)
  parts.append(Terms([item for item in items if item[1]]))
  if run.config:
    flat = flatten(run.config)
    lines = [f'{key} = {value!r}' for key, value in flat.items()]
    parts.append(Code('\n'.join(lines), f'Config, {len(lines)} keys'))
  return Section('How it was made', parts)


def rerun(run: SavedRun, workdir: str) -> str:
  """Returns the command that resumes a run."""
  commands = [e['command'] for e in run.origin if e.get('command')]
  if commands:
    return commands[-1]
  return f'{command("train")} --config=FILE --workdir={workdir}'
