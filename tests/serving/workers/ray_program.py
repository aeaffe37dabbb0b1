"""Scores files and a data set of Ray, in a process of its own; prints JSON.

  python -m tests.serving.workers.ray_program RUN PATTERN FOLDER
"""

import json
import pathlib
import sys

import esmm_jax
from esmm_jax.data.files import row_files
from esmm_jax.engines import choice
from esmm_jax.serving import BatchScorer, scoring
from esmm_jax.serving.workers.by_span import Workers
from pyarrow import parquet

from tests.serving.workers.test_by_span import Dies, PART_ROWS

SCORES = ['p_ctr', 'p_cvr', 'p_ctcvr']


def by_ray_data(scorer, paths, form):
  """Scores with Ray Data, whose actors leave processors to its reading."""
  import ray

  context = ray.data.DataContext.get_current()
  context.execution_options.preserve_order = True
  context.enable_progress_bars = False
  rows = ray.data.read_parquet(paths, override_num_blocks=len(paths))
  scored = rows.map_batches(
      scorer.__class__,
      fn_constructor_args=(scorer.runs, scorer.key),
      batch_format=form, batch_size=None, num_cpus=1,
      compute=ray.data.ActorPoolStrategy(size=1))
  return scored.to_pandas()


def main(run, pattern, folder):
  folder = pathlib.Path(folder)
  with choice.using('ray', 4), choice.opened(0) as engine:
    engine.workers = 2  # Processors are left for Ray Data.
    predictor = esmm_jax.load(run)
    sources = row_files.find([pattern])
    scorer = BatchScorer(run, 'user')

    def scored(name, workers):
      path = folder / name
      scoring.score_files(
          predictor, sources, str(path), 'user', part_rows=PART_ROWS,
          workers=workers)
      return path.read_bytes()

    wanted = scored('a.parquet', None)
    workers = Workers(engine, scorer)
    same = [scored('b.parquet', workers) == wanted]
    scoring.Work = Dies
    same.append(scored('c.parquet', workers) == wanted)
    paths = [file.path for file in sources]
    frame = by_ray_data(scorer, paths, 'pyarrow')
    again = by_ray_data(scorer, paths, 'pandas')
  table = parquet.read_table(folder / 'a.parquet')
  batches = [
      predictor.predict(parquet.read_table(f.path))['p_ctr'].tolist()
      for f in sources]
  print(json.dumps({
      'same': same,
      'columns': frame.columns.tolist(),
      'pandas': frame.equals(again),
      'users': frame['user'].tolist() == table['user'].to_pylist(),
      'scores': frame['p_ctr'].tolist() == sum(batches, []),
  }))


if __name__ == '__main__':
  main(*sys.argv[1:])
