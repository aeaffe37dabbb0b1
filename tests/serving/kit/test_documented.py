"""The lines about exports in docs/predictions.md."""

import json
import re
import shlex
import subprocess

import numpy as np
import pytest

from tests import ROOT
from tests.serving.kit.processes import document, ENCODES, SERVES
from tests.serving.kit.test_server import ask, connected
from tests.serving.test_export import snippet

pytestmark = [
    pytest.mark.long, pytest.mark.usefixtures('quick_compilation')]


def test_documented_request(running):
  """What curl sends, and the names of what it prints."""
  line, scores = re.search(
      r"^(curl [^']*'[^']*')\n(\{.*\})$", document(), re.MULTILINE).groups()
  _, url, flag, body = shlex.split(line)
  assert flag == '-d' and url == 'http://127.0.0.1:8000/score'
  with connected(running) as connection:
    answer, value = ask(connection, body.encode())
  assert answer.status == 200, value
  assert [list(row) for row in value['scores']] == [
      list(row) for row in json.loads(scores)['scores']]


def test_documented_lines(exported):
  """Those that score raw rows in Python, with the packages that they name."""
  (lines,) = [
      block for block in document().split('```')[1::2]
      if 'scores = load(' in block]
  program = '\n'.join((
      'import json, sys', snippet(ROOT),
      "raw_rows = json.load(open('rows.json'))['rows'][:40]", lines.strip(),
      "np.savez('documented.npz', **scores)"))
  done = subprocess.run(
      **exported.command(SERVES, '-c', program), capture_output=True,
      check=False)
  assert done.returncode == 0, done.stderr
  held = np.load(exported.folder / 'documented.npz')
  for name, scores in exported.predictor.predict(exported.rows[:40]).items():
    np.testing.assert_allclose(held[name], scores, rtol=1e-6)


def test_documented_packages(exported):
  (line,) = re.findall(r'^pip install (jax flat.*)$', document(), re.MULTILINE)
  text = (exported.folder / 'exported' / 'serve.py').read_text()
  needed = re.search(r'Needs (.*)\.$', text, re.MULTILINE)[1]
  assert sorted(needed.split(', ')) == sorted(line.split())
  assert {*ENCODES, 'jax', 'flatbuffers'} == set(line.split())
