"""Prints the table of a sweep; runs that are not finished show as missing.

  python -m experiments.table --sweep=configs/tables/architectures.py:smoke \
    --workdir=runs/smoke

A run that is damaged, or is not the one of its point, is missing too; runs that
were trained on different data get no test. Each is a warning.

Writes table.md, table.csv and table.tex into WORKDIR, or into --output where
several tables share the runs of a WORKDIR, and prints one of them, that of
--format. The CSV has one line for each row and metric, in full precision,
with the Wilcoxon test and the unadjusted p-values too. The LaTeX has a float
with caption and label for each table; gains fit a column of a paper with two.
The figures that the table asks for are drawn beside them, and a forest plot of
the gains, as PNG and as PDF; their files are listed on stderr.
"""

import os

from absl import flags
from esmm_jax import streams

from esmm_jax.entry import commands
from esmm_jax.experiments import cli, file_flags, load

_SWEEP = file_flags.define_path(
    'sweep', None, 'Table file and variant: configs/tables/NAME.py:smoke.'
)
_WORKDIR = file_flags.define_path('workdir', None, 'That of the sweep.')
_FORMAT = flags.DEFINE_enum(
    'format', 'markdown', ['markdown', 'csv', 'latex'], 'Format to print.'
)
_OUTPUT = file_flags.define_path(
    'output', None, 'Gets the table and its figures; default: the workdir.'
)
file_flags.define_overwrite()
cli.define_data_dir()  # As the sweep's; a table reads the runs alone.
flags.adopt_module_key_flags(cli)


def main() -> None:
  from esmm_jax.sweeps import names

  spec = cli.require('sweep', 'configs/tables/architectures.py:smoke')
  workdir = cli.require('workdir', 'runs/architectures')
  with names.as_in(workdir):
    _write(spec, workdir)


def _write(spec: str, workdir: str) -> None:
  """Writes the table and prints it."""
  from esmm_jax.printable import printable
  from esmm_jax import ownership
  from esmm_jax.reporting import figures, text as report
  from esmm_jax.reporting.forests import forests
  from esmm_jax.reporting.history_notes import comparisons
  from esmm_jax.reporting.plots import drawing
  from esmm_jax.sweeps.results import notes, tabulate
  from esmm_jax.types import InputError
  from esmm_jax.whole_files import write_text

  table = load.table(spec)
  if not os.path.isdir(os.path.join(workdir, 'runs')):
    raise InputError(
        f'--workdir={workdir}: no sweep has run there. First:'
        f' {commands.command("sweep")} --sweep={spec} --workdir={workdir}'
    )
  output = _OUTPUT.value or workdir
  is_sweep = ownership.is_ours(output, ownership.SWEEP)
  kind = ownership.SWEEP if is_sweep else ownership.TABLE
  # No marker of a table where a sweep may yet run.
  use = ownership.claim if is_sweep or _OUTPUT.value else ownership.check
  flag = '--output' if _OUTPUT.value else '--workdir'
  use(output, kind, flag, flags.FLAGS.overwrite)
  blocks = tabulate(table, workdir, load.todays_configs(table, workdir))
  with drawing.pdf_too():
    drawn = figures.draw(table, blocks, output)
    if 'gains' not in table.figures:  # Those have a panel for each block.
      drawn.paths.extend(forests(table, blocks, output))
  texts = {
      'markdown': ('table.md', report.markdown(table, blocks, drawn.paths)),
      'csv': ('table.csv', report.to_csv(table, blocks)),
      'latex': ('table.tex', report.latex(table, blocks)),
  }
  for name, text in texts.values():
    write_text(os.path.join(output, name), text)
  print(printable(texts[_FORMAT.value][1]), end='')
  for note in (*notes(blocks), *comparisons(table, blocks)):
    streams.warn(note)
  pdfs = map(drawing.pdf_of, drawn.paths)
  for line in (*drawn.paths, *pdfs, *drawn.skipped):
    streams.progress(line)


if __name__ == '__main__':
  cli.run(main)
