"""Facts about a refit on its page: the run that it trains anew, its rows."""

from esmm_jax.sweeps.saved_runs import SavedRun


def items(run: SavedRun) -> list[tuple[str, str]]:
  """Returns names and texts; [] of a run that is no refit."""
  about = (run.results or {}).get('refit_of')
  if not about or not run.config:
    return []
  name = run.config['refit_of']
  chosen = about['metric'] or 'the last parameters'
  return [
      (
          'refit of',
          f'{name}, identity {about["identity"][:16]}: its step'
          f' {about["step"]:,} was chosen ({chosen})',
      ),
      (
          'trained on',
          f'{run.config["dataset"]["train_split"]}: no rows are held out but'
          ' those of the test split',
      ),
  ]
