"""The first page of the site: README.md, whose links lead from here.

mkdocs calls these functions, which mkdocs.yml names.
"""

import os
import re

from mkdocs.structure.files import File, Files

_HOST = 'https://github.com/esmm-jax/esmm_jax/blob/main/'


def on_files(files, config):
  """Adds index.md."""
  root = os.path.dirname(config['config_file_path'])
  with open(os.path.join(root, 'README.md'), encoding='utf-8') as f:
    text = _from_docs(f.read())
  index = File.generated(config, 'index.md', content=text)
  return Files([index, *files])


def on_page_markdown(markdown, page, config, files):
  """Leads what is outside of docs/ to the repository; bars in tables."""
  del page, config, files
  markdown = re.sub(r'^\|.*', _bars, markdown, flags=re.M)
  return re.sub(r'\]\(\.\./([^)#]+)\)', rf']({_HOST}\1)', markdown)


def _bars(row):
  """Returns a row of a table; a bar in code needs no backslash here."""
  return re.sub(r'`[^`]*`', lambda m: m[0].replace('\\|', '|'), row[0])


def _from_docs(text):
  """Returns a page of the root as it would be in docs/."""
  text = text.replace('](docs/', '](')
  outside = r'\]\(((?:colab|esmm_jax)/[\w./]+|[A-Z]+\.(?:cff|md))\)'
  return re.sub(outside, rf']({_HOST}\1)', text)
