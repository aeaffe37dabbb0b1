"""Runs the lines of docs/predictions.md on Spark; prints JSON.

  python -m tests.serving.workers.spark_program RUN LOG FOLDER
"""

import json
import re
import sys

from pyarrow import dataset

from tests import ROOT


def recipe(name):
  """The block of code of the page that has a name in it."""
  text = (ROOT / 'docs' / 'predictions.md').read_text('utf-8')
  blocks = re.findall(r'^```python\n(.*?)^```$', text, re.M | re.S)
  (block,) = [b for b in blocks if name in b]
  return block


def main(run, log, folder):
  code = recipe('mapInArrow').replace('/nfs/runs/esmm', run)
  code = code.replace('/nfs/log', log)
  answers = {}
  for function in ('mapInArrow', 'mapInPandas'):
    scores = f'{folder}/{function}'
    lines = code.replace('mapInArrow', function).replace('/nfs/scores', scores)
    exec(compile(lines, function, 'exec'), {})  # pylint: disable=exec-used
    table = dataset.dataset(scores).to_table()
    answers[function] = {n: table[n].to_pylist() for n in table.column_names}
  from pyspark.sql import SparkSession
  SparkSession.getActiveSession().stop()
  print(json.dumps(answers))


if __name__ == '__main__':
  main(*sys.argv[1:])
