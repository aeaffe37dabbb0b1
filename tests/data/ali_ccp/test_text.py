"""The parser of Ali-CCP's text: what each rule of its grammar lets through.

`test_ali_ccp_fuzz` compares it with an oracle; here the answers are written by
hand. In the lines `:`, `=` and `;` stand for the bytes 2, 3 and 1.
"""

import io
import random
import threading

from esmm_jax.data.ali_ccp import chunks
from esmm_jax.data.ali_ccp.fields import PRESETS
from esmm_jax.data.ali_ccp.kernel import REASONS
from esmm_jax.data.ali_ccp.layout import code_name, layout, name_code
from esmm_jax.data.ali_ccp.text import Counts, read_rows
from esmm_jax.types import InputError
import numpy as np
import pytest
from tests.data.ali_ccp import ali_ccp_reader
from tests.data.ali_ccp.test_fuzz import check, COMMON, read, SKELETON

HEAD = '7,1,0,ab,1,'
GOOD = HEAD + '205:9=1.0'
WORDS = {
    'fields': 'the line ends before its list',
    'sample_id': 'the sample id is not a number',
    'label': 'click and conversion are not 0 or 1',
    'index': 'the common feature index is not',
    'feature_num': 'feature_num is not the number of features',
    'field': 'a field is not named like 101 or 109_14',
    'id': 'a feature id is not a whole number',
    'id_range': 'the feature id is beyond 16777215',
    'value': 'a value is not a number like 1.0',
    'value_range': 'the value is beyond 65504',
}


def coded(line: str) -> bytes:
  return line.translate(str.maketrans(':=;', '\2\3\1')).encode('ascii')


# Reason -> lines; ! stands before the byte that is named.
BAD = {
    'fields': ['7!', '7,!', '7,1!', '7,1,0!', '7,1,0,!', '7,1,0,ab,1!'],
    'sample_id': [
        '!x,1,0,ab,0,', '!,1,0,ab,0,', '7! ,1,0,ab,0,', '!-7,1,0,ab,0,',
        '123456789012345678!9,1,0,ab,0,', '!\r\r', '! ', '7!\t1\t0\tab\t0\t',
    ],
    'label': [
        '7,!2,0,ab,0,', '7,!,0,ab,0,', '7,1,!2,ab,0,', '7,1!0,0,ab,0,',
        '7,1,0!.0,ab,0,', '7,1,!-1,ab,0,', '7,!x',
    ],
    'index': [
        '7,1,0,!,0,', '7,1,0,!g,0,', '7,1,0,0123456789abcdef!0,0,',
        '7,1,0,0!x1,0,', '7,1,0,ab!|0,',
    ],
    'feature_num': [
        '7,1,0,ab,2,205:9=1.0!', '7,1,0,ab,0,205:9=1.0!', '7,1,0,ab,1,!',
        '7,1,0,ab,!,', '7,1,0,ab,!x,', '7,1,0,ab,123456789!0,',
        '7,1,0,ab,!-1,205:9=1.0', '7,1,0,ab,1!:', '7,1,0,ab,3,1:1=1;2:2=2!',
    ],
    'field': [
        '!:9=1.0', '!x', '205!', '205!5:9=1.0',
        '205_!:9=1', '109_14!4:9=1', '109_14!_1:9=1', '!_14:9=1', '205!=9:1',
        '205:9=1;!', '205:9=1.0;!;205:9=1.0', '205!|9|1', '!,205:9=1.0',
    ],
    'id': [
        '205:!=1.0', '205:!', '205:9!', '205:9!.0=1', '205:!-9=1', '205:9!:1',
        '205:9! =1', '205:!x=1',
    ],
    'id_range': [
        '205:1677721!6=1.0', '205:9999999!9x=1',
        '205:' + '0' * 30 + '1677721!6=',
        '205:1844674!4073709551617=1', '205:9999999!' + '9' * 6000,
    ],
    'value': [
        '205:9=!', '205:9=1.!', '205:9=!.5', '205:9=!-1', '205:9=1!e3',
        '205:9=1.0!,', '205:9=1.0!.0', '205:9=!nan', '205:9=!inf', '205:9=!+1',
        '205:9=1.0!\x00', '205:9=1!\r\r', '205:9=1.0!:', '205:9=1!_0',
        # 16 digits, and 23 decimals.
        '205:9=100000000000000!0', '205:9=1.000000000000000!',
        '205:9=0.00000000000000000000000!', '205:9=' + '9' * 15 + '!9',
        '205:9=000001234567890.123456!',
    ],
    'value_range': [
        '205:9=65504.1!', '205:9=65505!', '205:9=999999999999999!',
        '205:9=65504.0000000001!', '205:9=99999!x', '205:9=065505!;',
    ],
}  # fmt: skip
LATE = ('field', 'id', 'id_range', 'value', 'value_range')
CASES = [
    (reason, (HEAD if reason in LATE else '') + line)
    for reason, lines in BAD.items()
    for line in lines
]


def test_all_reasons_are_tried():
  assert set(BAD) == set(WORDS) == set(REASONS) - {''}


@pytest.mark.parametrize('reason, marked', CASES)
def test_bad_line(reason, marked):
  place = marked.index('!') + 1
  line = coded(marked.replace('!', ''))
  text = coded(GOOD) + b'\n\n' + line + b'\n' + coded(GOOD) + b'\n'
  with pytest.raises(InputError) as e:
    read(text, SKELETON)
  message = str(e.value)
  assert message.startswith(f'a file, line 3, byte {place}: '), message
  excerpt = repr(line[:60])[1:] + '...' * (len(line) >= 60)
  assert WORDS[reason] in message and f': {excerpt}. ' in message
  rows, counts = read(text, SKELETON, bad_lines='drop')
  assert [r.line for r in rows] == [1, 4]
  assert rows[0]._replace(line=4) == rows[1]
  assert counts.bad_lines == {reason: 1}
  assert counts.first_bad == {reason: {'line': 3, 'text': excerpt}}
  assert (counts.lines, counts.rows, counts.blank_lines) == (4, 2, 1)
  assert counts.tokens == 2 and not counts.values_not_one
  check(text, SKELETON)


def one(line: str, of=SKELETON):
  """The row of a line that is right."""
  (row,), _ = read(coded(line), of)
  check(coded(line), of)
  return row


def test_a_line_of_the_published_file():
  row = one(
      '1,0,1,bacff91692951881,9,210:9052218=1.0;210:9064553=1.0;'
      '508:9=0.69315;853:5=1;853:4=2.5;211:8=0.5;211:7=2;211:6=2.0;301:1=1'
  )
  assert row == ali_ccp_reader.Row(
      line=1,
      sample_id=1,
      click=0,
      conversion=1,
      key=0xBACFF91692951881,
      ids={'205': -1, '508': 9, '853': 4},
      weights={'508': float(np.float32(0.69315)), '853': 2.5},
      lists={
          '210': ([9052218, 9064553], None),
          '211': ([6, 7, 8], [2.0, 2.0, 0.5]),
      },
  )
  row = one('ff,3,109_14:2=0;121:3=1;109_14:1=0', COMMON)
  assert (row.sample_id, row.click, row.conversion) == (0, 0, 0)
  assert row.ids == {'101': -1, '121': 3} and row.key == 255
  assert row.lists['109_14'] == ([1, 2], [0, 0]) and not row.weights


def test_limits_that_hold():
  row = one('999999999999999999,1,1,AbCdeF0123456789,000000001,508:016777215=1')
  assert row.sample_id == 10**18 - 1 and row.key == 0xABCDEF0123456789
  assert row.ids['508'] == (1 << 24) - 1
  assert one('000,1,1,0,0,').key == 0
  for text in (
      '65504', '65504.0', '65504.0000000000', '00065504.00', '0', '000.000',
      '65503.9999999999', '0.000000000000000', '0.0000000123456789012345',
      '0.0000000000000000000000', '12345.6789012345', '0.999999999999999',
  ):  # fmt: skip
    row = one(f'{HEAD}508:9={text}')
    assert row.weights['508'] == np.float32(float(text)), text
  _, counts = read(coded(HEAD + '205:9=0.999999999999999'), SKELETON)
  assert counts.values_not_one == {'205': 1}


def test_decimals_are_the_nearest_float32():
  rng = random.Random(0)
  texts = []
  while len(texts) < 20_000:
    digits = str(rng.randrange(10 ** rng.randint(1, 15)))
    k = rng.randint(0, 22)
    digits = digits.zfill(k + 1)
    text = f'{digits[: len(digits) - k]}.{digits[len(digits) - k :]}'
    texts += [text.rstrip('.')] * (float(text) <= 65504)
  lines = ''.join(f'{HEAD}508:9={text}\n' for text in texts)
  rows, _ = read(coded(lines), SKELETON)
  expected = np.array([float(t) for t in texts]).astype(np.float32)
  assert [r.weights['508'] for r in rows] == expected.tolist()


@pytest.mark.parametrize('length', [2, 23, 24, 25, 26, 300])
def test_long_lists(length):
  rng = random.Random(length)
  lines = []
  for _ in range(5):
    ids = rng.choices(range(50), k=length)
    pairs = [(i, rng.choice('0123') + '.25') for i in ids]
    listed = ';'.join(f'211:{i}={w};210:{i}=1' for i, w in pairs)
    lines.append(f'7,1,0,ab,{2 * length},{listed}')
  rows, _ = read(coded('\n'.join(lines)), SKELETON)
  check(coded('\n'.join(lines)), SKELETON, 100)
  ids, weights = rows[4].lists['211']
  assert weights == sorted((float(w) for _, w in pairs), reverse=True)
  assert list(zip(weights, ids)) == sorted(
      ((float(w), i) for i, w in pairs), key=lambda v: (-v[0], v[1])
  )
  assert rows[4].lists['210'] == ([i for i, _ in pairs], None)


def test_what_is_counted():
  text = '7,1,0,ab,7,205:3=1;205:2=4;205:1=1;210:1=0;99:1=1;099:1=1;301:1=9\n'
  rows, counts = read(coded('\r\n' + text * 2 + '\n' + GOOD), SKELETON)
  assert [r.line for r in rows] == [2, 3, 5]
  assert [r.ids['205'] for r in rows] == [3, 3, 9]
  assert counts.to_dict() == dict(
      lines=5, blank_lines=2, rows=3, tokens=15, bad_lines={}, first_bad={},
      unknown_fields={'99': 2, '099': 2}, duplicates={'205': 4},
      values_not_one={'205': 2, '210': 2},
  )  # fmt: skip


def test_names_and_their_codes():
  names = [f'{k:0{w}}' for w in (1, 2, 3) for k in range(10**w)]
  seconds = ('0', '00', '9', '14', '99')
  names += [f'{n}_{k}' for n in names[::7] for k in seconds]
  codes = [name_code(n) for n in names]
  assert [code_name(c) for c in codes] == names
  assert len(set(codes)) == len(codes)


def test_a_line_that_does_not_end(monkeypatch):
  monkeypatch.setattr(chunks, 'LONGEST_LINE', 100)
  line = coded(f'7,1,0,ab,9,{";".join(["210:1=1"] * 9)}')
  assert len(line) == 82
  assert len(read(line + b'\n' + line, SKELETON, 10)[0]) == 2
  stream = io.BytesIO(line + b'\n' + line * 1000)
  rows = read_rows(stream, 'its name', SKELETON, Counts(), chunk_bytes=10)
  with pytest.raises(InputError, match='no line end in 10. bytes') as e:
    list(rows)
  message = str(e.value)
  assert message.startswith('its name: ') and repr(line[:60])[1:] in message
  assert stream.tell() < 200  # It is not read on.


def test_threads_end_with_the_generator():
  before = threading.active_count()
  many = coded(GOOD + '\n') * 50
  for text in (many, many + b'x\n' + many):
    stream, seen = io.BytesIO(text), []
    rows = read_rows(
        stream, 'a file', SKELETON, Counts(), chunk_bytes=30, threads=2,
        progress=seen.append,
    )  # fmt: skip
    assert len(next(rows).key) and threading.active_count() > before
    rows.close()
    assert threading.active_count() == before
    assert sum(seen) == stream.tell() < len(many)
  with pytest.raises(InputError, match='line 51, byte 1'):
    read(text, SKELETON, 30)
  assert threading.active_count() == before


def test_types_and_progress():
  seen = []
  text = coded(GOOD + '\n') * 3
  stream = io.BytesIO(text)
  (rows,) = read_rows(
      stream, '', SKELETON, Counts(), progress=seen.append, chunk_bytes=1000
  )
  assert sum(seen) == len(text)
  kinds = [str(c.dtype) for c in rows[:5]]
  assert kinds == ['int64', 'int64', 'int8', 'int8', 'uint64']
  assert rows.ids['205'].dtype == np.int32
  assert rows.weights['508'].dtype == np.float32
  found = rows.lists['211']
  assert found.values.dtype == np.int32 and found.weights.dtype == np.float32
  assert found.offsets.dtype == np.int64 and found.offsets.tolist() == [0] * 4


def test_layouts_of_the_presets():
  esmm, aitm = (
      [layout(PRESETS[p].schema, s) for s in (True, False)]
      for p in ('esmm23', 'aitm18')
  )
  users = ('101', '121', '122', '124', '125', '126', '127', '128', '129')
  met = ('508', '509', '702')
  histories = ('109_14', '110_14', '127_14', '150_14')
  assert esmm[0].singles == ('205', '206', '207', '216', '301', *met)
  assert esmm[0].lists == ('210', '853') and not esmm[0].ignored
  assert esmm[0].weighted == {*met, '853'} and not esmm[0].last
  assert esmm[1].singles == users and esmm[1].lists == histories
  assert esmm[1].weighted == set(histories) and not esmm[1].skeleton
  assert aitm[0].singles == (*esmm[0].singles, '853') and not aitm[0].lists
  assert aitm[0].last == {'853'} and aitm[0].ignored == {'210'}
  assert aitm[1].singles == users and aitm[1].ignored == set(histories)
  assert not aitm[0].weighted and not aitm[1].weighted
