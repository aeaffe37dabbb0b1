"""The raw files of Ali-CCP: what is found, and what damaged archives give."""

import contextlib
import hashlib
import gzip
import io
import random
import tarfile

from esmm_jax.data.ali_ccp.dataset import AliCcp
from esmm_jax.data.ali_ccp.files import find_files
from esmm_jax.types import InputError
import pytest

from benchmarks.ali_ccp_files import write_random

COMMON, SKELETON = 'common_features_{}.csv', 'sample_skeleton_{}.csv'
NAMES = [n.format(s) for s in ('train', 'test') for n in (COMMON, SKELETON)]


def content(name, rows=40):
  """Bytes that are other ones in each file, like those of the text."""
  rng = random.Random(name)
  return b''.join(
      b'%016x,1,101\x02%d\x031.0\n' % (rng.getrandbits(64), rng.getrandbits(20))
      for _ in range(rows)
  )


def archive(members) -> bytes:
  """A .tar.gz of (name, bytes)."""
  out = io.BytesIO()
  with tarfile.open(fileobj=out, mode='w:gz') as tar:
    for name, data in members:
      info = tarfile.TarInfo(name)
      info.size = len(data)
      tar.addfile(info, io.BytesIO(data))
  return out.getvalue()


def of_split(split, order=1, folder='', rows=40) -> bytes:
  """The archive of a split."""
  names = [n.format(split) for n in (COMMON, SKELETON)][::order]
  return archive([(folder + n, content(n, rows)) for n in names])


def read(files, split):
  """[(kind, name, bytes)] of a split, and what progress was told."""
  told = []
  with contextlib.closing(files.open(split, told.append)) as opened:
    return [(k, n, stream.read()) for k, n, stream in opened], sum(told)


def put(folder, **archives):
  """Writes NAME.tar.gz of each, and a good one of the test split."""
  for name, data in {'sample_test': of_split('test'), **archives}.items():
    (folder / f'{name}.tar.gz').write_bytes(data)
  return folder


def digest(data):
  return {'bytes': len(data), 'sha256': hashlib.sha256(data).hexdigest()}


def expected(split, prefix=''):
  return [
      (kind, prefix + name.format(split), content(name.format(split)))
      for kind, name in (('common', COMMON), ('skeleton', SKELETON))
  ]


@pytest.mark.parametrize('sub', [(), (0,), (0, 1, 2, 3), (1, 2)])
def test_csv_files_in_the_folder_and_in_one_in_it(tmp_path, sub):
  (tmp_path / 'in').mkdir()
  for k, name in enumerate(NAMES):
    folder = tmp_path / 'in' if k in sub else tmp_path
    (folder / name).write_bytes(content(name))
  # Complete CSV files are taken, and archives are not looked at.
  for name in ('a_train.tar.gz', 'b_train.tgz', 'in/test.tgz'):
    (tmp_path / name).write_bytes(b'no archive')
  files = find_files(str(tmp_path))
  assert files.sizes == {n: len(content(n)) for n in NAMES}
  assert files.total_bytes == sum(files.sizes.values())
  (train, told), (test, more) = read(files, 'train'), read(files, 'test')
  assert train == expected('train') and test == expected('test')
  assert told + more == files.total_bytes
  assert files.digests == {n: digest(content(n)) for n in NAMES}


@pytest.mark.parametrize('order', [1, -1])
@pytest.mark.parametrize('folder', ['', './', 'sample/train/'])
def test_archives(tmp_path, order, folder):
  data = of_split('train', order, folder)
  files = find_files(str(put(tmp_path, sample_train=data)))
  assert list(files.sizes) == ['sample_train.tar.gz', 'sample_test.tar.gz']
  found, told = read(files, 'train')
  assert found == expected('train', 'sample_train.tar.gz/')[::order]
  assert told == len(data) == files.sizes['sample_train.tar.gz']
  assert files.digests == {'sample_train.tar.gz': digest(data)}


def test_csv_files_of_one_split_and_an_archive_of_the_other(tmp_path):
  (tmp_path / 'in').mkdir()
  (tmp_path / 'in' / 'my-train.tgz').write_bytes(of_split('train'))
  for name in NAMES[1:]:
    (tmp_path / name).write_bytes(content(name))
  files = find_files(str(tmp_path))
  assert read(files, 'train')[0] == expected('train', 'my-train.tgz/')
  assert read(files, 'test')[0] == expected('test')


def test_an_archive_larger_than_what_is_read_at_once(tmp_path):
  data = of_split('train', rows=40_000)
  assert len(data) > 1 << 20
  files, told = find_files(str(put(tmp_path, sample_train=data))), []
  heads = [s.read(10) for _, _, s in files.open('train', told.append)]
  assert heads == [content(n)[:10] for n in NAMES[:2]]
  # What no one read is hashed too.
  assert sum(told) == len(data)
  assert files.digests == {'sample_train.tar.gz': digest(data)}
  put(tmp_path, sample_train=data[:-5000])
  opened = find_files(str(tmp_path)).open('train', told.append)
  assert next(opened)[2].read() == content(NAMES[0], 40_000)
  with pytest.raises(InputError, match='sample_train.tar.gz: .*fetch it again'):
    next(opened)[2].read()


def outcome(path, good):
  """The error that reading an archive gives, or '' if all its bytes come."""
  try:
    found, _ = read(find_files(str(path.parent)), 'train')
  except InputError as e:
    assert str(e).startswith((f'{path}: ', f'{path.parent}: ')), e
    return str(e)
  return '' if found == good else 'other bytes'


@pytest.fixture
def damaged(tmp_path):
  """(bytes of a good archive, what damaged ones give)."""
  data = of_split('train')
  path = put(tmp_path, sample_train=data) / 'sample_train.tar.gz'
  good = expected('train', 'sample_train.tar.gz/')
  assert outcome(path, good) == ''

  def give(bad):
    path.write_bytes(bad)
    return outcome(path, good)

  return data, give


def test_cut_off(damaged):
  data, give = damaged
  assert give(b'').endswith('sample_train.tar.gz is empty.')
  cuts = [1, 2, *range(4, len(data), 29)]
  said = {k: give(data[:k]) for k in cuts}
  # All bytes of the files may be there before the last of the archive.
  assert all(said[k] for k in cuts if k < len(data) - 60)
  assert 'other bytes' not in said.values()
  again = sum('fetch it again' in text for text in said.values())
  assert again > 0.9 * len(cuts) > 40


def test_cut_off_after_three_bytes(damaged):
  data, give = damaged
  assert 'fetch it again' in give(data[:3])


def test_a_changed_byte_gives_no_other_bytes(damaged):
  data, give = damaged
  silent = []
  for at in range(0, len(data), 23):
    bad = bytearray(data)
    bad[at] ^= 1 << at % 8
    silent += [at] * (give(bytes(bad)) == 'other bytes')
  assert not silent


def test_no_archive(damaged):
  for bad in (b'PK\3\4' * 500, content(NAMES[0]), b'\0' * 10240):
    assert 'fetch it again' in damaged[1](bad)


@pytest.mark.parametrize(
    'members, said',
    [
        (NAMES[:1], f': {NAMES[1]} is not in it.'),
        (NAMES[1:2], f': {NAMES[0]} is not in it.'),
        (NAMES[2:], f': {NAMES[0]} and {NAMES[1]} is not in it.'),
        ([*NAMES[:2], NAMES[0]], f'{NAMES[0]} is in it twice.'),
        ([NAMES[1], 'a/' + NAMES[1]], f'{NAMES[1]} is in it twice.'),
        (['._' + NAMES[0], 'a', NAMES[0], NAMES[2], 'a', NAMES[1]], ''),
    ],
)
def test_members(damaged, members, said):
  found = damaged[1](archive([(n, content(n)) for n in members]))
  assert found.endswith(said) and bool(found) == bool(said), found


def refused(folder, *words):
  with pytest.raises(InputError) as e:
    find_files(str(folder) if folder else '')
  assert all(w in str(e.value) for w in words), str(e.value)


def test_what_is_not_found(tmp_path):
  refused('', 'raw_dir is not set', 'sample_train.tar.gz')
  refused(tmp_path / 'no', 'no: there is no such folder')
  refused(tmp_path, *NAMES, 'There is: nothing.')
  (tmp_path / 'notes.txt').write_bytes(b'x')
  for name in NAMES[:3]:
    (tmp_path / name).write_bytes(b'x')
  refused(tmp_path, f'{tmp_path}: {NAMES[3]} not found', 'notes.txt', NAMES[0])
  (tmp_path / NAMES[3]).write_bytes(b'')
  refused(tmp_path, f'{NAMES[3]} is empty.')
  (tmp_path / NAMES[3]).write_bytes(b'x')
  assert find_files(str(tmp_path)).total_bytes == 4
  (tmp_path / 'in').mkdir()
  (tmp_path / 'in' / NAMES[2]).write_bytes(b'x')
  refused(tmp_path, f'{NAMES[2]} is there twice', 'in/')
  (tmp_path / NAMES[0]).unlink()
  (tmp_path / 'in' / NAMES[2]).unlink()
  put(tmp_path, sample_train=b'x', old_train=b'y')
  refused(tmp_path, 'split train', 'old_train.tar.gz, sample_train.tar.gz')


def prepared(data_dir, raw_dir):
  """Name -> bytes of the .npy files, and the names of the raw files."""
  builder = AliCcp.from_options(
      data_dir=str(data_dir), raw_dir=str(raw_dir), min_count=2
  ).prepare()
  paths = sorted(data_dir.rglob('*.npy'))
  arrays = {str(p.relative_to(data_dir)): p.read_bytes() for p in paths}
  return arrays, set(builder.report['files'])


def test_prepared_from_archives(tmp_path):
  raw, packed = tmp_path / 'raw', tmp_path / 'packed'
  packed.mkdir()
  for split, num in (('train', 40), ('test', 10)):
    write_random(str(raw), split, num)
  arrays, names = prepared(tmp_path / 'csv', raw)
  assert len(arrays) > 50 and names == set(NAMES)
  for order in (1, -1):
    for split in ('train', 'test'):
      members = [n.format(split) for n in (COMMON, SKELETON)][::order]
      data = archive([(n, (raw / n).read_bytes()) for n in members])
      (packed / f'sample_{split}.tar.gz').write_bytes(data)
    found, names = prepared(tmp_path / f'data{order}', packed)
    assert names == {'sample_train.tar.gz', 'sample_test.tar.gz'}
    assert found == arrays


FACTS = [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE,
         tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK]


@pytest.mark.parametrize('kind', FACTS)
@pytest.mark.parametrize('sizes', [[8 << 20], [9000, 9000]], ids=str)
def test_headers_of_any_size(kind, sizes, tmp_path):
  """A few compressed bytes are many digits, or there are many headers."""
  bad = b''
  for size in sizes:
    info = tarfile.TarInfo('x')
    info.type, info.size = kind, size
    body = b'20 path=abcdefghijk\n' * (size // 20 + 1)
    if len(sizes) == 1:
      body = b'1' * size
    bad += info.tobuf(tarfile.USTAR_FORMAT)
    bad += body[:size].ljust(-(-size // 512) * 512, b'\0')
  path = put(tmp_path, sample_train=gzip.compress(bad, 1))
  told = []
  with pytest.raises(InputError, match='train.tar.gz: its headers hold more'):
    for _, _, stream in find_files(str(path)).open('train', told.append):
      stream.read()
  assert sum(told) < 3 << 20


def test_a_header_of_a_name_that_is_long(tmp_path):
  """Such are in archives of every tool."""
  folder = 'f' * 90 + '/' + 'g' * 90 + '/'
  put(tmp_path, sample_train=of_split('train', folder=folder))
  found, _ = read(find_files(str(tmp_path)), 'train')
  assert found == expected('train', 'sample_train.tar.gz/')
