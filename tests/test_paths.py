"""Paths as people write them."""

import os
import pathlib

from esmm_jax import paths
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
