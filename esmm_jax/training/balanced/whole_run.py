"""The record of a balanced run in its results, and a line about it."""

from esmm_jax.balancing.over_run import over_run, told
from esmm_jax.json_files import read_jsonl
from esmm_jax.parallel import processes
from esmm_jax.training.replica_run import Run


def add_record(run: Run) -> str:
  """Adds what metrics.jsonl says of balancing to the results of a run.

  Of several processes the first alone has all lines of a run that resumed.

  Args:
    run: With an open writer, whose lines are all written.

  Returns:
    A line for people about it; '' without a record.
  """
  if not processes.is_first():
    return ''
  whole = over_run(read_jsonl(run.writer.path, strict=False))
  run.results |= whole
  if not whole:
    return ''
  return run.label + told(run.settings.balancing.name, whole)
