"""Labels that are read to be measured or calibrated on."""

import os
import shutil

from esmm_jax.data.store import prepared_files
from esmm_jax.training.predict import observe
from esmm_jax.types import InputError
import numpy as np
import pytest

from tests.toy import Toy


@pytest.mark.parametrize('label', ['click', 'conversion'])
@pytest.mark.parametrize('value', [2, -1])
def test_impossible_labels(toy, tmp_path, label, value):
  """As training refuses them, in data of a fault that is sealed too."""
  shutil.copytree(toy.data_dir_root, tmp_path / 'data')
  [path] = tmp_path.glob(f'data/toy/*/toy-test*-00001-*/{label}.npy')
  column = np.load(path)
  column[7] = value
  np.save(path, column)
  prepared_files.seal(os.fspath(path.parent.parent))
  data = Toy(data_dir=tmp_path / 'data').prepare()
  with pytest.raises(InputError) as e:
    observe(data, 'test')
  assert f"row 52: label '{label}' is {value}; it must be 0" in str(e.value)
  assert observe(data, 'test[:45]').labels[label].tolist() == (
      toy.as_data_source('test').read(0, 45)[label].tolist())
