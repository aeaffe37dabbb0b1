"""Runs of a sweep that are trained together, of those that are to do."""

from collections.abc import Collection, Iterator, Sequence

from esmm_jax import streams

from esmm_jax.experiments.sweeping.plans import Plan


def side_by_side(
    plan: Plan, to_do: Collection[str], workdir: str
) -> Iterator[list[str]]:
  """Yields the runs that are trained together.

  A run with results lacks only its predictions. It resumes from its own last
  checkpoint, which the checkpoint of a group would not know, so it is alone.
  Where that checkpoint is damaged, all of its group are trained again: alone
  its sums would be added in another order.
  """
  from esmm_jax.sweeps.saved_runs import run_folder
  from esmm_jax.workdir import soundness

  for group in plan.groups:
    names = [name for name in group if name in to_do]
    results = {n: soundness.read_results(run_folder(workdir, n)) for n in names}
    trained = [name for name in names if results[name] is not None]
    lost = _damaged(group, workdir) if trained else []
    if lost:
      streams.warn(
          f'The last checkpoint of {", ".join(lost)} is damaged; the'
          f' {len(group)} runs that were trained side by side are trained'
          ' again.'
      )
      yield list(group)
      continue
    yield from ([name] for name in trained)
    if rest := [name for name in names if name not in trained]:
      yield rest


def _damaged(group: Sequence[str], workdir: str) -> list[str]:
  """Returns the replicas of a finished group without a sound checkpoint."""
  from esmm_jax.sweeps.saved_runs import run_folder
  from esmm_jax.workdir import soundness

  folders = {name: run_folder(workdir, name) for name in group}
  results = {n: soundness.read_results(folder) for n, folder in folders.items()}
  return [
      name
      for name, values in results.items()
      if values is not None
      and 1 < values.get('replicas', 1) == len(group)
      and not soundness.is_sound(folders[name], values)
  ]
