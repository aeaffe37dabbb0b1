"""Paths as people write them."""

import os
import pathlib

from esmm_jax import paths
from esmm_jax.types import InputError
from fsspec.implementations.local import LocalFileSystem
import pytest


@pytest.fixture(autouse=True)
def home(monkeypatch):
  monkeypatch.setenv('HOME', '/home/me')


@pytest.mark.parametrize('path, expected', [
    ('~', '/home/me'), ('~/runs/a', '/home/me/runs/a'),
    ('file:///logs/a.csv', '/logs/a.csv'),
    ('file://localhost/logs/a.csv', '/logs/a.csv'), ('runs/~a', 'runs/~a'),
    ('s3://bucket/~/a.csv', 's3://bucket/~/a.csv'), ('', ''),
    ('~/t.py:smoke', '/home/me/t.py:smoke')])
def test_expand(path, expected):
  assert paths.expand(path) == expected


def test_a_path_of_pathlib():
  assert paths.expand(pathlib.Path('~/runs')) == '/home/me/runs'


def test_absolute():
  assert paths.absolute('a.csv') == os.path.abspath('a.csv')
  assert paths.absolute('~/a.csv') == '/home/me/a.csv'
  assert paths.absolute('s3://a.csv') == 's3://a.csv'


@pytest.mark.parametrize('path', [
    'ssh://host/a.csv', 'sftp://host/a.csv', 'github://a:b@c/d.csv',
    'reference://a.json', 'zip://a.csv', 'tar://a.csv', 'libarchive://a.csv',
    'simplecache://a', 'dask://a', 'jupyter://a', 'git://a', 'dbfs://a',
    'smb://host/a.csv', 'ftp://host/a.csv', 'data://text', 'pipe://a', 'x y://a',
    '{{7*7}}://a', 'SSH://host/a.csv'])
def test_other_file_systems_are_not_opened(path):
  with pytest.raises(InputError, match='of a file system that is not opened'):
    paths.file_system(path)


@pytest.mark.parametrize('path', [
    'simplecache::s3://b/a.csv', 'zip://a.csv::https://x/y.zip',
    'memory://a::ssh://host/a', 'reference::file:///a', 'a::s3://b'])
def test_chains_are_not_followed(path):
  with pytest.raises(InputError, match='chains file systems by ::'):
    paths.file_system(path)


@pytest.mark.parametrize('path, name', [
    ('/logs/a.csv', '/logs/a.csv'), ('file:///logs/a.csv', '/logs/a.csv'),
    ('~/a.csv', '/home/me/a.csv'), ('/logs/a::b.csv', '/logs/a::b.csv'),
    ('/logs/simplecache::x', '/logs/simplecache::x'),
    ('/logs/day=1[2]*.csv', '/logs/day=1[2]*.csv')])
def test_what_has_no_protocol_is_a_local_file(path, name):
  fs, stripped = paths.file_system(path)
  assert isinstance(fs, LocalFileSystem) and stripped == name


def test_files_in_memory():
  fs, name = paths.file_system('memory://logs/a.csv')
  assert (fs.protocol, name) == ('memory', '/logs/a.csv')


def test_data_is_no_path():
  """fsspec reads the content of a file from such a path."""
  fs, name = paths.file_system('data:text/csv,a,b')
  assert isinstance(fs, LocalFileSystem)
  assert name == os.path.abspath('data:text/csv,a,b')
