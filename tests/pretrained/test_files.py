"""Files of vectors: every form gives the same, and every mistake is told."""

from esmm_jax.pretrained import files
from esmm_jax.types import InputError
import numpy as np
import pyarrow as pa
import pytest

from tests.pretrained import samples

VECTORS = samples.numbers(4, 3, 7)
VALUES = ['7', 'b', 'c', 'd e']


@pytest.mark.parametrize('kind', [
    pa.list_(pa.float32()), pa.large_list(pa.float64()),
    pa.list_(pa.float32(), 3)])
def test_parquet(tmp_path, kind):
  path = samples.parquet_file(
      tmp_path / 'a.parquet', VALUES, pa.array(VECTORS.tolist(), kind))
  values, vectors = files.read(path)
  assert values.to_pylist() == VALUES and vectors.dtype == np.float32
  np.testing.assert_array_equal(vectors, VECTORS)


def test_npz_of_numbers_and_text(tmp_path):
  """A value is one text, whatever type it has: that of the encoder."""
  np.savez(tmp_path / 'a.npz', values=np.arange(4.0), vectors=VECTORS)
  values, vectors = files.read(str(tmp_path / 'a.npz'))
  assert values.to_pylist() == ['0', '1', '2', '3']
  np.testing.assert_array_equal(vectors, VECTORS)


@pytest.mark.parametrize('header', ['', '4 3\n'])
def test_text_of_word2vec(tmp_path, header):
  lines = [
      f'{v.replace(" ", "_")} {" ".join(map(str, row))}\n'
      for v, row in zip(VALUES, VECTORS)]
  (tmp_path / 'a.vec').write_text(header + ''.join(lines))
  values, vectors = files.read(str(tmp_path / 'a.vec'))
  assert values.to_pylist() == ['7', 'b', 'c', 'd_e']
  np.testing.assert_array_equal(vectors, VECTORS)


def test_the_checksum_is_of_what_is_in_it(tmp_path):
  """Not of its form or of the order of its rows; of every bit of a number."""
  np.savez(tmp_path / 'a.npz', values=np.array(VALUES), vectors=VECTORS)
  one = files.about(str(tmp_path / 'a.npz'))
  back = samples.parquet_file(
      tmp_path / 'a.parquet', VALUES[::-1], VECTORS[::-1].tolist())
  assert files.about(back) == one and one.dim == 3
  changed = VECTORS.copy()
  changed[2, 1] = np.nextafter(changed[2, 1], np.float32(9))
  np.savez(tmp_path / 'b.npz', values=np.array(VALUES), vectors=changed)
  assert files.about(str(tmp_path / 'b.npz')).sha256 != one.sha256


def parquet_of(values, vectors):
  return lambda path: samples.parquet_file(path, values, vectors)


def npz_of(**arrays):
  return lambda path: np.savez(path, **arrays)


def text_of(text):
  return lambda path: path.write_text(text)


TWO = [[1.0, 2.0], [3.0, 4.0]]
BAD = {
    'a.csv': (text_of('a 1'), 'its name must end in one of .parquet, .npz'),
    'gone.npz': (lambda path: None, 'cannot be read: No such file'),
    'a.npz': (text_of('no archive'), 'cannot be read as .npz'),
    'a.parquet': (text_of('no table'), 'cannot be read as .parquet'),
    'twice.parquet': (
        parquet_of(['a', 'b', 'a'], [*TWO, [5, 6]]),
        "row 2: the value 'a' stands in row 0 too"),
    'one.parquet': (
        parquet_of([7, 8, 7], [*TWO, [5, 6]]),
        "row 2: the value '7' stands in row 0 too"),
    'size.parquet': (
        parquet_of(['a', 'b'], [[1, 2], [3]]),
        'row 1: the vector has 1 numbers, and that of row 0 has 2'),
    'nan.parquet': (
        parquet_of(['a', 'b'], [[1, 2], [3, float('nan')]]),
        "row 1: the vector of 'b' holds a number that is missing, not finite"),
    'inf.parquet': (
        parquet_of(['a', 'b'], [[1, 2], [float('inf'), 1]]), "row 1: .*'b'"),
    'large.parquet': (
        parquet_of(['a', 'b'], [[1e39, 2], [1, 1]]), "row 0: .*past float32"),
    'null.parquet': (
        parquet_of(['a', 'b'], [[1, 2], [3, None]]), "row 1: .*'b' .* missing"),
    'no vector.parquet': (
        parquet_of(['a', 'b'], [[1, 2], None]), 'row 1: the vector is missing'),
    'no value.parquet': (
        parquet_of(['a', None], TWO), 'row 1: the value is missing'),
    'number.parquet': (
        parquet_of(['a', 'b'], [1, 2]), 'column vector is of type int64'),
    'texts.parquet': (
        parquet_of(['a', 'b'], [['1'], ['2']]), 'a list of string; it must be'),
    'empty.parquet': (
        parquet_of(pa.array([], pa.string()),
                   pa.array([], pa.list_(pa.float32()))),
        'has 0 vectors of 0 numbers'),
    'no column.npz': (
        npz_of(value=np.arange(2), vectors=np.array(TWO)),
        "has no array 'values'; .* here are value, vectors"),
    'shape.npz': (
        npz_of(values=np.arange(3), vectors=np.array(TWO)),
        r'values has the shape \[3\] and vectors \[2, 2\]'),
    'type.npz': (
        npz_of(values=np.arange(2), vectors=np.array([['1'], ['2']])),
        'vectors is of type <U1'),
    'objects.npz': (
        npz_of(values=np.array(['a', None]), vectors=np.array(TWO)),
        'cannot be read as .npz'),
    'word.txt': (text_of('a 1 2\nb 3 x\n'), "line 2: could not convert"),
    'size.txt': (text_of('a 1 2\nb 3\n'), 'vector 1: the vector has 1 numbers'),
}


@pytest.mark.parametrize('name', BAD)
def test_refused(tmp_path, name):
  write, message = BAD[name]
  path = tmp_path / name
  write(path)
  with pytest.raises(InputError, match=message) as e:
    files.read(str(path))
  assert '\n' not in str(e.value) and name in str(e.value)


def test_another_table(tmp_path):
  path = samples.parquet_file(tmp_path / 'a.parquet', ['a'], [[1.0]])
  import pyarrow.parquet as parquet

  table = parquet.read_table(path).rename_columns(['id', 'vector'])
  parquet.write_table(table, path)
  with pytest.raises(InputError, match="no column 'value'; .* id, vector"):
    files.read(path)
