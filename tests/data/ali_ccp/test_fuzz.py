"""The parser of Ali-CCP's text against the oracle: good, damaged, garbage."""

import io

from esmm_jax.data.ali_ccp.fields import PRESETS
from esmm_jax.data.ali_ccp.kernel import REASONS
from esmm_jax.data.ali_ccp.layout import Layout, layout
from esmm_jax.data.ali_ccp.text import Counts, read_rows
from esmm_jax.types import InputError
from hypothesis import given, settings, strategies as st
import pytest
from tests.data.ali_ccp import ali_ccp_reader

pytestmark = pytest.mark.slow

SKELETON = Layout(
    skeleton=True,
    singles=('205', '508', '853'),
    lists=('210', '211'),
    weighted=frozenset({'508', '211', '853'}),
    last=frozenset({'853'}),
    ignored=frozenset({'301'}),
)
COMMON = Layout(
    skeleton=False,
    singles=('101', '121'),
    lists=('109_14', '110_14'),
    weighted=frozenset({'109_14'}),
    ignored=frozenset({'150_14'}),
)
LAYOUTS = [SKELETON, COMMON] + [
    layout(p.schema, skeleton) for p in PRESETS.values() for skeleton in (0, 1)
]
STRANGERS = ('1', '01', '001', '999', '109_1', '109_01', '0_0', '999_99')
GRAMMAR = b'0123456789abcdefABCDEF,,,._\x01\x01\x02\x02\x03\x03\n\n\r\r\x00 -+e'

chunkings = st.tuples(
    st.sampled_from([1, 2, 3, 10, 50, 200, 10_000]), st.sampled_from([1, 2])
)


def read(data, of, chunk_bytes=1 << 20, threads=2, bad_lines='error'):
  """(rows, counts) of the parser."""
  counts = Counts()
  parts = read_rows(
      io.BytesIO(data), 'a file', of, counts,
      bad_lines=bad_lines, threads=threads, chunk_bytes=chunk_bytes,
  )  # fmt: skip
  return ali_ccp_reader.plain(parts), counts


def check(data, of, chunk_bytes=1 << 20, threads=2):
  """Compares with the oracle under both policies. Returns what it found."""
  expected, found = ali_ccp_reader.read(data, of)
  rows, counts = read(data, of, chunk_bytes, threads, 'drop')
  assert rows == expected
  assert counts.bad_lines == {r: len(n) for r, n in found.bad.items()}
  firsts = {r: v['line'] for r, v in counts.first_bad.items()}
  assert firsts == {r: n[0] for r, n in found.bad.items()}
  assert counts.lines == found.lines
  assert counts.blank_lines == found.blank_lines
  assert counts.tokens == found.tokens
  assert counts.unknown_fields == found.unknown_fields
  assert counts.duplicates == found.duplicates
  assert counts.values_not_one == found.values_not_one
  assert counts.rows == len(rows)
  bad = sum(counts.bad_lines.values())
  assert counts.lines == counts.rows + counts.blank_lines + bad
  if found.first_bad is None:
    again, same = read(data, of, chunk_bytes, threads)
    assert again == expected and same == counts
    return found
  number, reason = found.first_bad
  with pytest.raises(InputError) as e:
    read(data, of, chunk_bytes, threads)
  message = str(e.value)
  assert message.startswith(f'a file, line {number}, byte '), message
  assert f': {REASONS[reason]}: ' in message
  ends = number < found.lines or data.endswith(b'\n')
  assert ('seems to be cut off' in message) != ends
  assert ("bad_lines='drop'" in message) == ends
  return found


@st.composite
def texts(draw, most=5):
  """A layout and lines that are right for it, as (head, triples, end)."""
  of = draw(st.sampled_from(LAYOUTS))
  names = of.singles + of.lists * 3 + tuple(of.ignored)
  triple = st.tuples(
      st.sampled_from(names) | st.sampled_from(STRANGERS),
      st.integers(0, 40) | st.integers(0, 16_777_215),
      st.sampled_from(
          '1 1.0 1.000 0 0.0 00.50 0.69315 0.6931500001 2.3979 65504.0'.split()
      )
      | st.tuples(st.integers(0, 65503), st.integers(0, 10**9)).map(
          lambda v: f'{v[0]}.{v[1]}'
      ),
  ).map(lambda t: '{}\x02{}\x03{}'.format(*t))
  labels = st.integers(0, 1)
  lines = []
  for _ in range(draw(st.integers(0, most))):
    if draw(st.integers(0, 5)):
      found = draw(st.lists(triple, max_size=7))
      index = format(
          draw(st.integers(0, 2**64 - 1)),
          draw(st.sampled_from(['x', 'X', '016x'])),
      )
      head = [index, len(found)]
      if of.skeleton:
        sample_id = draw(st.integers(0, 10**18 - 1))
        head = [sample_id, draw(labels), draw(labels), *head]
      lines.append(','.join(map(str, [*head, '\x01'.join(found)])))
    else:
      lines.append('')
    lines.append(draw(st.sampled_from(['\n', '\r\n'])))
  if draw(st.booleans()):
    lines[-1:] = []
  return of, ''.join(lines).encode()


@st.composite
def splices(draw):
  """(place, bytes that go, bytes that come or the place of a slice)."""
  comes = draw(
      st.just(b'')
      | st.sampled_from([bytes([c]) for c in GRAMMAR])
      | st.binary(min_size=1, max_size=3)
      | st.tuples(st.sampled_from(b'0159'), st.integers(2, 40)).map(
          lambda t: bytes([t[0]]) * t[1]
      )
      | st.sampled_from([b'9' * 5000, b'0' * 5000, b'\0' * 99, b'\n\r\r\n'])
      | st.tuples(st.integers(0, 400), st.integers(1, 60))
  )
  goes = draw(st.sampled_from([0, 0, 1, 1, 1, 2, 5, 40, 1000]))
  return draw(st.integers(0, 700)), goes, comes


def spliced(text, splice):
  """The text with a part replaced, perhaps by another part of it."""
  at, goes, comes = splice
  at %= len(text) + 1
  if isinstance(comes, tuple):
    first = comes[0] % (len(text) + 1)
    comes = text[first : first + comes[1]]
  return text[:at] + comes + text[at + goes :]


@settings(max_examples=100)
@given(texts(), chunkings)
def test_good_text(drawn, chunking):
  of, text = drawn
  assert not check(text, of, *chunking).bad


@settings(max_examples=250)
@given(texts(most=3), st.lists(splices(), min_size=1, max_size=4), chunkings)
def test_damaged_text(drawn, damage, chunking):
  of, text = drawn
  for splice in damage:
    text = spliced(text, splice)
  check(text, of, *chunking)


@settings(max_examples=100)
@given(
    st.sampled_from(LAYOUTS[:2]),
    st.binary(max_size=300)
    | st.lists(st.sampled_from(GRAMMAR), max_size=300).map(bytes),
    chunkings,
)
def test_garbage(of, text, chunking):
  check(text, of, *chunking)


# Layout, line, and how many bytes may be cut off with no harm to be seen.
LINES = [
    (SKELETON, b'12,1,0,aF3,2,508\x0216777215\x0365504.0\x01205\x027\x031', ()),
    (
        SKELETON,
        b'999999999999999999,0,1,0123456789abcdeF,1,853\x020\x030.5',
        (2,),
    ),
    (
        COMMON,
        b'f,2,109_14\x0206\x0310.25\x01109_14\x025\x0310.250',
        (1, 2, 4, 5),
    ),
]


@pytest.mark.parametrize('ends', [b'\n', b'\r\n'])
@pytest.mark.parametrize('of, line, _', LINES)
def test_every_byte_lost_changed_or_added(of, line, _, ends):
  """All damages of one byte, each on a line of its own."""
  assert not check(line, of).bad
  any_byte = [bytes([c]) for c in range(256)]
  damaged = [
      line[:at] + new + line[at + goes :]
      for at in range(len(line) + 1)
      for goes in (0, 1)
      for new in [b'', *any_byte]
  ]
  found = check(ends.join(damaged), of, 4000)
  assert found.lines > 500 * len(line)
  assert {'index', 'feature_num', 'field', 'id', 'value'} < set(found.bad)


@pytest.mark.parametrize('of, line, unseen', LINES)
def test_cut_at_every_byte(of, line, unseen):
  text = line + b'\r\n' + line + b'\n'
  bad = [k for k in range(len(text)) if check(text[:k], of, 50, 1).bad]
  once = [k for k in range(1, len(line)) if len(line) - k not in unseen]
  assert bad == once + [len(line) + 2 + k for k in once]
