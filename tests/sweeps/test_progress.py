"""The progress of a sweep beside other processes."""

from esmm_jax.sweeps.progress import Progress


def test_a_group_that_others_train(capsys):
  """Nothing has ended here: no line, and no estimate of what is left."""
  progress = Progress(4, 0)
  progress.begin(['a', 'b'])
  progress.end({})
  assert capsys.readouterr().out == ''
  progress.begin(['c'])
  progress.end({'c': None})
  assert capsys.readouterr().out.startswith('[1/4] c: 00:00 (sweep 00:00,')
