"""JSON of a folder that may be anybody's."""

import json

from esmm_jax.json_files import parse_json, read_json, read_jsonl
from esmm_jax.types import InputError
import pytest

DEEP = ('[', '{"a":', '[{"a":')
ENDS = {'[': ']', '{"a":': '}', '[{"a":': '}]'}


@pytest.mark.parametrize('depth', [60, 900, 100_000])
@pytest.mark.parametrize('start', DEEP)
def test_nested_without_end(start, depth, tmp_path):
  text = start * depth + '1' + ENDS[start] * depth
  with pytest.raises(ValueError, match='nested too deeply'):
    parse_json(text)
  path = tmp_path / 'config.json'
  path.write_text(text)
  with pytest.raises(InputError, match='config.json is not JSON .*too deeply'):
    read_json(str(path))
  path.write_text('{"step": %s}\n' % text)
  assert read_jsonl(str(path), strict=False) == []
  with pytest.raises(InputError, match='line 1 is damaged'):
    read_jsonl(str(path))


@pytest.mark.parametrize('value', [
    1, None, 'x[[', [], {}, [[]] * 200, {str(k): {'a': [k]} for k in range(200)},
    json.loads('[' * 40 + ']' * 40)])
def test_what_is_ours_is_read(value):
  assert parse_json(json.dumps(value)) == value
