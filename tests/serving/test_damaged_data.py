"""Damaged prepared data: the same numbers, or one line; never a traceback."""

import pytest

from tests.serving import data_matrix
from tests.damaged import cells


@pytest.mark.long
def test_every_file_damage_and_reader(tmp_path):
  tried = list(data_matrix.matrix(data_matrix.Stage(tmp_path)))
  assert len({cell.file for cell in tried}) == len(data_matrix.FILES)
  assert len(tried) > 360
  assert [cell for cell in tried if cell.outcome in cells.BAD] == []
