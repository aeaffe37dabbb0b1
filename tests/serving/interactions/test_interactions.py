"""A run with factorization machines: trained, scored, exported, scored."""

import esmm_jax
from esmm_jax.serving import exporting
from esmm_jax.serving.model_inputs import features
from esmm_jax.training.loop import train_and_evaluate
from esmm_jax.workdir import folder, predictions
import numpy as np
import pytest

from configs import mmoe


def write_log(path, num, seed):
  """Rows whose label depends on pairs of an id, a list and a number."""
  rng = np.random.default_rng(seed)
  rows = ['user,tags,price,click,conversion']
  for _ in range(num):
    user, price = rng.integers(5), rng.normal()
    tags = rng.choice(6, rng.integers(3), replace=False)
    score = (user % 2 - 0.5) * (price + sum(tags % 2 - 0.5))
    click = rng.random() < 1 / (1 + np.exp(-score))
    bought = int(click and rng.random() < 0.5)
    words = ';'.join(f't{t}' for t in tags)
    rows.append(f'u{user},{words},{price:.3f},{int(click)},{bought}')
  path.write_text('\n'.join(rows) + '\n', 'utf-8')


@pytest.mark.long
@pytest.mark.parametrize('interaction, width', [('fm', 4), ('deepfm', 4 + 2)])
def test_scores_are_those_of_the_run(interaction, width, tmp_path):
  """Of raw rows, of the export, and the parameters are counted."""
  write_log(tmp_path / 'log.csv', 3000, 0)
  write_log(tmp_path / 'later.csv', 500, 1)
  config = mmoe.get_config('tabular')
  config.update_from_flattened_dict({
      'dataset.files': str(tmp_path / 'log.csv'),
      'dataset.test_files': str(tmp_path / 'later.csv'),
      'dataset.split': 'files', 'dataset.valid_split': '',
      'selection.metric': '', 'dataset.id': 'user',
      'dataset.ids': 'tags:combiner=mean:separator=;:max_len=3',
      'dataset.float': 'price', 'dataset.min_count': 1, 'batch_size': 100,
      'learning_rate': 0.01, 'num_epochs': 2, 'model.embed_dim': 4,
      'model.expert_units': (4,), 'model.num_experts': 2,
      'model.tower_units': (3,), 'run.save_predictions': True,
      'model.interaction': interaction})
  run = str(tmp_path / 'run')
  results = train_and_evaluate(config, run, str(tmp_path / 'data'))
  assert results['test/ctr/auc'] > 0.55
  # Five users and six tags, with missing and rare ones.
  of_table = (5 + 2 + 6 + 2) * width
  inputs = 2 * 4 + 1 + 4 * (interaction == 'fm')
  experts, gates = 2 * (inputs + 1) * 4, 2 * inputs * 2
  towers = 2 * ((4 + 1) * 3 + (3 + 1))
  terms = 4 if interaction == 'fm' else 4 + 2 * (1 + 4)
  assert results['num_network_params'] == experts + gates + towers + terms
  assert results['num_params'] - results['num_network_params'] == of_table

  saved = predictions.read(
      folder.predictions_file(run), ['p_ctr', 'p_ctcvr'])
  predictor = esmm_jax.load(run)
  text = (tmp_path / 'later.csv').read_text('utf-8')
  lines = [row.split(',') for row in text.split()]
  columns = {name: [line[k] for line in lines[1:]]
             for k, name in enumerate(lines[0][:3])}
  columns['tags'] = [t.split(';') if t else [] for t in columns['tags']]
  columns['price'] = [float(x) for x in columns['price']]
  got = predictor.predict(columns)
  for name, want in saved.items():
    np.testing.assert_allclose(got[name], want, rtol=1e-5)
    assert np.ptp(want) > 0.01
  exporting.export(predictor, str(tmp_path / 'exported'))
  call, arrays = exporting.load(str(tmp_path / 'exported'))
  inputs = features(predictor.schema, predictor.encode(columns, 'rows'))
  scores = call(arrays, inputs)
  for name, want in got.items():
    np.testing.assert_allclose(scores[name], want, rtol=1e-5)
