"""Files for developers: all that they name exists."""

import os
import re
import subprocess
import sys

import pytest
import yaml

from tests import ROOT



def read(path):
  return (ROOT / path).read_text('utf-8')


def targets():
  return set(re.findall(r'^([a-z-]+):', read('Makefile'), re.M))


def versions():
  return re.findall(r'Python :: (3\.\d+)', read('setup.cfg'))


@pytest.mark.parametrize('path', [
    'CONTRIBUTING.md', 'README.md', '.github/workflows/test.yml', '.ci/run',
    '.github/PULL_REQUEST_TEMPLATE.md', 'docs/scale.md'])
def test_make_targets_are_there(path):
  found = set(re.findall(r'make ([a-z-]+)', read(path)))
  known = {'setup', 'demo', 'test', 'lint', 'docs'} | {
      t for t in found if t.startswith(('test-', 'note'))}
  assert found & known and found & known <= targets()


def test_the_workflow():
  found = yaml.safe_load(read('.github/workflows/test.yml'))
  job = found['jobs']['test']
  assert job['strategy']['matrix']['python'] == versions()
  assert [s['run'] for s in job['steps'] if 'run' in s] == ['make test']
  assert job['timeout-minutes'] == 90


def test_the_citation():
  found = yaml.safe_load(read('CITATION.cff'))
  assert found['cff-version'] == '1.2.0' and found['type'] == 'software'
  for key in ('message', 'title', 'authors', 'license'):
    assert found[key]
  assert f'version = {found["version"]}\n' in read('setup.cfg')
  (paper,) = found['references']
  assert paper['doi'] == '10.1145/3209978.3210104'
  assert found['license'] in read('setup.cfg')


def test_hooks():
  found = yaml.safe_load(read('.pre-commit-config.yaml'))
  for hook in found['repos'][0]['hooks']:
    for word in hook['entry'].split():
      assert not word.startswith('tests/') or (ROOT / word).exists()


@pytest.mark.parametrize('name', ['wrong_number', 'new_method'])
def test_issue_forms(name):
  form = yaml.safe_load(read(f'.github/ISSUE_TEMPLATE/{name}.yml'))
  assert form['name'] and form['description']
  ids = [field['id'] for field in form['body']]
  assert len(ids) == len(set(ids))
  asked = ' '.join(f['attributes']['label'] for f in form['body']).lower()
  assert {'wrong_number': 'command', 'new_method': 'source'}[name] in asked
  text = read('.github/PULL_REQUEST_TEMPLATE.md')
  assert 'Command' in text and 'table' in text


def test_links_in_documents():
  """Files that documents point to, and programs whose commands they give."""
  for path in [*ROOT.glob('*.md'), *(ROOT / 'docs').glob('*.md')]:
    text = path.read_text('utf-8')
    for link in re.findall(r'\]\(([^)#:]+)\)', text):
      assert (path.parent / link).exists(), (path.name, link)
    for program in re.findall(
        r'python -m ((?:experiments|benchmarks)[.\w]*)', text):
      assert (ROOT / (program.replace('.', '/') + '.py')).exists() or (
          program == 'experiments'), (path.name, program)
    if path.name == 'errors.md':  # Its commands are wrong ones.
      continue
    for config in re.findall(r'(configs/[a-z_0-9/]+\.py)', text):
      assert (ROOT / config).exists(), (path.name, config)


def test_moved_modules():
  """The names that CHANGELOG.md gives are those of modules."""
  table = re.findall(
      r'^\| `([a-z_0-9.]+)` \| (`.*`) \|$', read('CHANGELOG.md'), re.M)
  moved = {old: re.findall(r'`([^`]+)`', new) for old, new in table}
  assert len(moved) > 90
  for name in sum(moved.values(), []):
    top = ROOT if name.startswith('benchmarks.') else ROOT / 'esmm_jax'
    path = top / name.replace('.', '/')
    assert path.is_dir() or path.with_suffix('.py').exists(), name


def test_every_guide_is_on_the_site():
  named = set(re.findall(r'^ +- (\w+\.md)$', read('mkdocs.yml'), re.M))
  assert named == {p.name for p in (ROOT / 'docs').glob('*.md')}


@pytest.mark.long
def test_the_site(tmp_path):
  """Every guide is a page, links lead somewhere, and code is code."""
  done = subprocess.run(
      [sys.executable, '-m', 'mkdocs', 'build', '--site-dir', tmp_path],
      cwd=ROOT, env=dict(os.environ, NO_MKDOCS_2_WARNING='1'), text=True,
      capture_output=True, check=False)
  if 'No module named mkdocs' in done.stderr:
    pytest.skip('needs the extra `docs`; make docs installs it')
  assert done.returncode == 0, done.stderr
  index = (tmp_path / 'index.html').read_text('utf-8')
  assert 'href="your_own_data.html"' in index
  assert 'src="pictures/cvr_by_ctr_decile.png"' in index
  for name in (p.stem for p in (ROOT / 'docs').glob('*.md')):
    page = (tmp_path / f'{name}.html').read_text('utf-8')
    text = re.sub(r'<(pre|code|script)\b.*?</\1>', '', page, flags=re.S)
    assert '```' not in text and '](' not in text, name
    # A bar in a table has a backslash in Markdown.
    assert not re.search(r'<td>[^\n]*<code>[^<]*\\\|', page), name
  assert (tmp_path / 'search' / 'search_index.json').exists()


@pytest.mark.long
def test_api_documentation(tmp_path):
  """Without a warning, but for those of another package."""
  ignored = 'ignore:Error parsing type annotation'
  # As `make docs` has them.
  modules = ['esmm_jax'] + sorted(
      f'esmm_jax.{p.stem}' for p in (ROOT / 'esmm_jax').iterdir()
      if (p / '__init__.py').exists() or (
          p.suffix == '.py' and p.stem != '__init__'))
  done = subprocess.run(
      [sys.executable, '-W', 'error', '-W', f'{ignored} utils.VersionOrStr',
       '-W', f'{ignored} list[utils.VersionOrStr]', '-m', 'pdoc',
       '--docformat', 'google', '-o', str(tmp_path), *modules],
      cwd=ROOT, env=dict(os.environ, JAX_PLATFORMS='cpu'), text=True,
      capture_output=True, check=False)
  if 'No module named pdoc' in done.stderr:
    pytest.skip('needs the extra `docs`; make docs installs it')
  assert done.returncode == 0, done.stderr
  for page in ('models/ple', 'data/tabular/dataset', 'options', 'locks'):
    assert (tmp_path / 'esmm_jax' / f'{page}.html').exists(), page
