"""The runs of a seesaw laboratory, with what they wrote while they trained."""

from collections.abc import Mapping
import os
from typing import Any, NamedTuple

from esmm_jax.json_files import read_jsonl
from esmm_jax.reporting.seesaw import verdicts
from esmm_jax.reporting.seesaw.stops import Lines
from esmm_jax.sweeps import seesaw
from esmm_jax.sweeps.results import Block, Row
from esmm_jax.sweeps.saved_runs import run_folder, SavedRun


class Arms(NamedTuple):
  """The runs of a laboratory.

  Attributes:
    design: What is compared.
    workdir: Their folder.
    block: All arms.
    lines: Name of a finished run -> its metrics.jsonl.
  """

  design: seesaw.Design
  workdir: str
  block: Block
  lines: Mapping[str, Lines]

  def finished(self, row: Row) -> dict[Any, SavedRun]:
    """Returns seed -> run of the finished runs of a row."""
    return {s: run for s, run in row.runs.items() if run.name in self.lines}

  def row(self, *values: Any) -> Row:
    """Returns the row of these values."""
    return verdicts.block_rows(self.block)[values]

  @property
  def methods(self) -> list[Row]:
    """The rows of the methods, without their replays."""
    labels = {arm.label for arm in self.design.arms}
    return [
        row
        for row in self.block.rows
        if row.values[0] in labels and row.values[1] == seesaw.METHOD
    ]

  @property
  def planned(self) -> int:
    """Number of runs, finished or not."""
    rows = self.block.rows
    return len({run.name for row in rows for run in row.runs.values()})

  @property
  def config(self) -> Row:
    """The row of the config as it is."""
    return self.row(seesaw.CONFIG, seesaw.AS_IT_IS)


def read(design: seesaw.Design, workdir: str, block: Block) -> Arms:
  """Reads metrics.jsonl of the finished runs.

  Args:
    design: What is compared.
    workdir: Folder of the runs.
    block: All arms.
  """
  lines = {}
  for row in block.rows:
    for run in row.runs.values():
      if run.results is not None:
        path = os.path.join(run_folder(workdir, run.name), 'metrics.jsonl')
        lines[run.name] = read_jsonl(path)
  return Arms(design, workdir, block, lines)
