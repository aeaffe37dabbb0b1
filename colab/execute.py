"""Runs notebooks and keeps what they print and draw.

  python -m colab.execute colab/*.ipynb       # `make notebooks`

Each runs in a folder of its own that is removed afterwards, and is written only
if no cell failed. Needs the extra `colab`.
"""

import os
import sys
import tempfile

import nbclient
import nbformat

_SECONDS = 1200


def run(path: str) -> nbformat.NotebookNode:
  """The notebook with new outputs.

  Args:
    path: An .ipynb file.

  Raises:
    nbclient.exceptions.CellExecutionError: A cell fails.
  """
  notebook = nbformat.read(path, as_version=4)
  for cell in notebook.cells:
    if cell.cell_type == 'code':
      cell.outputs, cell.execution_count = [], None
    cell.metadata.pop('execution', None)
  with tempfile.TemporaryDirectory() as folder:
    nbclient.NotebookClient(
        notebook,
        timeout=_SECONDS,
        kernel_name='python3',
        resources={'metadata': {'path': folder}},
        record_timing=False,
    ).execute()
  notebook.metadata.pop('widgets', None)
  return notebook


def main(paths: list[str]) -> None:
  for path in paths:
    print(path, flush=True)
    notebook = run(path)
    temporary = f'{path}.tmp'
    nbformat.write(notebook, temporary)
    os.replace(temporary, path)


if __name__ == '__main__':
  main(sys.argv[1:])
