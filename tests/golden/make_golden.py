"""Every architecture once more, in float64 NumPy, from the papers' equations.

    python -m tests.golden.make_golden      # rewrites architectures.json

Nothing of `esmm_jax.models` and no jax is used. One example at a time goes
through as column vectors, W x + b, as the papers write it, in evaluation mode.
Parameters are random float64 numbers that float32 can hold, made from their
name and a seed, so the file needs only the outputs and a checksum. The wrong
forms of public code are keyword arguments, with the right one as default.
"""

from collections.abc import Iterator, Sequence
import dataclasses
import hashlib
import json
import pathlib
from typing import Any
import zlib

import numpy as np

from tests import toy

FILE = pathlib.Path(__file__).with_name('architectures.json')
D, ROWS, EXAMPLES = 2, 50, 5
WIDTH = 4 * D + 2  # Of the input vector: four embedded fields, two floats.

# Task and its parent.
FUNNEL = (('ctr', ''), ('cvr', 'ctr'))
CART = (('ctr', ''), ('atr', 'ctr'), ('ptr', 'atr'))

Vector = np.ndarray  # float64
Vectors = dict[str, Vector]  # A vector for each owner: tasks, or `shared`.
Outputs = dict[str, float]


@dataclasses.dataclass(frozen=True)
class Case:
  """A model, its options and the tasks with their parents."""

  model: str
  options: dict[str, Any]
  tasks: tuple[tuple[str, str], ...] = FUNNEL


class Net:
  """The parameters of a case, and the layers that use them."""

  def __init__(self, case: Case, seed: int = 0):
    plain = dict(activation='relu', norm='none', cross_layers=0, cross_rank=0)
    plain['interaction'] = 'none'
    self.options = {**plain, **case.options}
    self.case = case
    self.parents = dict(case.tasks)
    self.tasks = list(self.parents)
    self.seed = seed
    self.values: dict[str, np.ndarray] = {}

  def __getitem__(self, option: str) -> Any:
    return self.options[option]

  def param(
      self, name: str, *shape: int, scale: float = 1.0, least: float = 0.0
  ) -> np.ndarray:
    """The same numbers for the same name and seed; above `least` if it is."""
    if name not in self.values:
      rng = np.random.default_rng([self.seed, zlib.crc32(name.encode())])
      value = scale * rng.normal(size=shape)
      if least:
        value = least + np.abs(value)
      self.values[name] = value.astype(np.float32).astype(np.float64)
    assert self.values[name].shape == shape, name
    return self.values[name]

  def linear(self, name: str, x: Vector, num: int, bias: bool = True) -> Vector:
    """W x + b."""
    y = self.param(f'{name}/W', num, len(x), scale=2 * len(x) ** -0.5) @ x
    return y + self.param(f'{name}/b', num, scale=0.3) if bias else y

  def mlp(self, name: str, x: Vector, units: Sequence[int]) -> Vector:
    """Product, norm, activation for each width."""
    for k, num in enumerate(units):
      layer = f'{name}/layer{k}'
      x = self.activate(layer, self.norm(layer, self.linear(layer, x, num)))
    return x

  def norm(self, name: str, x: Vector) -> Vector:
    """Ioffe and Szegedy 2015, algorithm 2; Ba et al. 2016, equation 3."""
    if self['norm'] == 'none':
      return x
    if self['norm'] == 'batch':
      mean, var = self.statistics(name, len(x))
      x = (x - mean) / np.sqrt(var + 1e-5)
    else:
      mean = sum(x) / len(x)
      var = sum((x - mean) ** 2) / len(x)
      x = (x - mean) / np.sqrt(var + 1e-6)
    return self.param(f'{name}/scale', len(x)) * x + self.param(
        f'{name}/shift', len(x)
    )

  def statistics(self, name: str, num: int) -> tuple[Vector, Vector]:
    """A running mean and a running variance."""
    return (self.param(f'{name}/mean', num, scale=0.5),
            self.param(f'{name}/var', num, least=0.5))

  def activate(self, name: str, x: Vector) -> Vector:
    """PReLU: He et al. 2015, equation 1. Dice: Zhou et al., DIN, KDD 2018."""
    kind = self['activation']
    if kind == 'relu':
      return np.array([v if v > 0 else 0.0 for v in x])
    if kind == 'tanh':
      return np.tanh(x)
    slope = self.param(f'{name}/slope', len(x))
    if kind == 'prelu':
      return np.array([v if v > 0 else a * v for a, v in zip(slope, x)])
    assert kind == 'dice'
    mean, var = self.statistics(f'{name}/dice', len(x))
    p = 1 / (1 + np.exp(-(x - mean) / np.sqrt(var + 1e-8)))
    return p * x + (1 - p) * slope * x

  def out(self, name: str, x: Vector) -> float:
    """One number."""
    return float(self.linear(f'{name}/out', x, 1)[0])

  def tower(self, task: str, x: Vector) -> float:
    """Hidden layers, then one number."""
    hidden = self.mlp(f'tower {task}', x, self['tower_units'])
    return self.out(f'tower {task}', hidden)

  def experts(self, owner: str, num: int, x: Vector) -> list[Vector]:
    """`num` networks on one input."""
    units = self['expert_units']
    return [self.mlp(f'expert {owner} {k}', x, units) for k in range(num)]

  def gate(
      self,
      owner: str,
      x: Vector,
      experts: list[Vector],
      units: Sequence[int] = (),
      bias: bool = False,
      only: slice = slice(None),
  ) -> Vector:
    """sum_i softmax(W x + b)_i e_i, over the experts `only`."""
    x = self.mlp(f'gate {owner}', x, units)
    scores = self.linear(f'gate {owner}/out', x, len(experts), bias)[only]
    weights = softmax(scores)
    return sum(w * e for w, e in zip(weights, experts[only]))


def softmax(x: Vector) -> Vector:
  """exp(x_i) / sum_j exp(x_j)."""
  return np.exp(x) / sum(np.exp(x))


def fields(batch: Any, b: int, table: np.ndarray) -> dict[str, Vector]:
  """Field -> its vector: Ma et al., ESMM, SIGIR 2018, Figure 2.

  The ids come first, then the lists, then the floats.
  """
  kinds = {k: [f for f in toy.SCHEMA.fields if f.kind == k]
           for k in ('id', 'ids', 'float')}
  slots, weights = iter(batch.slots[b]), iter(batch.weights[b])
  vectors = {f.name: table[next(slots)] for f in kinds['id']}
  for f in kinds['ids']:
    pooled, total = np.zeros(table.shape[1]), 0.0
    for _ in range(f.max_len):
      weight = float(next(weights))
      pooled = pooled + weight * table[next(slots)]
      total += weight
    mean = f.combiner == 'mean' and total > 0
    vectors[f.name] = pooled / total if mean else pooled
  for f, value in zip(kinds['float'], batch.floats[b]):
    vectors[f.name] = np.array([float(value)])
  return vectors


def cross(net: Net, owner: str, first: Vector) -> Vector:
  """Wang et al., DCN V2, WWW 2021: x_0 * (W x_l + b) + x_l, or W = U V."""
  x = first
  for k in range(net['cross_layers']):
    name, y = f'cross {owner}/layer{k}', x
    if net['cross_rank']:
      y = net.linear(f'{name}/down', x, net['cross_rank'], bias=False)
    x = first * net.linear(name, y, len(first)) + x
  return x


def pairs(net: Net, owner: str, parts: Vectors) -> Vector:
  """Rendle 2010, equation 1: v_i * v_j, of two fields after the other."""
  names = [f.name for f in toy.SCHEMA.fields if f.kind == 'float']
  by_float = net.param(f'products {owner}/V', D, len(names)).T
  vectors = [v for name, v in parts.items() if name not in names]
  vectors += [parts[name] * v for name, v in zip(names, by_float)]
  total = np.zeros(D)
  for i, vector in enumerate(vectors):
    for other in vectors[i + 1 :]:
      total = total + vector * other
  return total


def machine(net: Net, task: str, batch: Any, b: int) -> float:
  """Guo et al., DeepFM, IJCAI 2017, equation 2, over what a task reads."""
  owners = [o for o in tables(net.case) if o in (task, 'shared')]
  second, first = np.zeros(D), 0.0
  for owner in owners:
    table = net.param(f'table {owner}', ROWS, D + first_order(net.case))
    parts = fields(batch, b, table[:, :D])
    second = second + pairs(net, owner, parts)
    alone = tables(net.case) == ['shared']
    column = D + (net.tasks.index(task) if alone else 0)
    weights = fields(batch, b, table[:, column : column + 1])
    kinds = {f.name: f.kind for f in toy.SCHEMA.fields}
    first += sum(w[0] for n, w in weights.items() if kinds[n] != 'float')
  floats = [parts[n][0] for n, kind in kinds.items() if kind == 'float']
  if owners[-1] == 'shared':
    second = second * net.param(f'fm {task}/h', D)
  return sum(second) + first + net.param(f'fm {task}/w', len(floats)) @ floats


def single_task(net: Net, x: Vectors) -> Outputs:
  """A network for each task."""
  return {t: net.tower(t, x[t]) for t in net.tasks}


def shared_embedding(net: Net, x: Vectors) -> Outputs:
  """Ma et al., ESMM, SIGIR 2018, Figure 2; ESMM-NS without sharing."""
  return {t: net.tower(t, x.get(t, x.get('shared'))) for t in net.tasks}


def grouped(net: Net, parts: dict[str, Vector]) -> Vector:
  """EasyRec's groups: a network for each, then the fields of none."""
  x = []
  for k, names in enumerate(net['groups']):
    joined = np.concatenate([parts[name] for name in names])
    x.append(net.mlp(f'group {k}', joined, net['group_units']))
  used = sum(map(tuple, net['groups']), ())
  return np.concatenate(x + [v for n, v in parts.items() if n not in used])


def shared_bottom(net: Net, x: Vectors) -> Outputs:
  """Ma et al., MMoE, KDD 2018, equation 1."""
  h = net.mlp('bottom', x['shared'], net['shared_units'])
  return {t: net.tower(t, h) for t in net.tasks}


def mmoe(net: Net, x: Vectors) -> Outputs:
  """Ma et al., MMoE, KDD 2018, section 4.2; one gate: section 4.1."""
  x = x['shared']
  experts = net.experts('shared', net['num_experts'], x)
  one = net.options.get('one_gate', False)
  return {
      t: net.tower(t, net.gate('shared' if one else t, x, experts))
      for t in net.tasks
  }


def cgc(net: Net, x: Vectors) -> Outputs:
  """Tang et al., PLE, RecSys 2020, section 4.1: one level."""
  x, y = x['shared'], {}
  for t in net.tasks:
    task_experts = net.experts(f'{t} 0', net['num_task_experts'], x)
    shared = net.experts('shared 0', net['num_shared_experts'], x)
    y[t] = net.tower(t, net.gate(f'{t} 0', x, task_experts + shared))
  return y


def ple(
    net: Net,
    x: Vectors,
    shared_gate_sees_all: bool = True,
    gates_read_raw: bool = False,
    shared_experts_read_tasks: bool = False,
) -> Outputs:
  """Tang et al., PLE, RecSys 2020, section 4.2, equation 6 for the selectors.

  Wrong forms: FuxiCTR's shared gate sees the shared experts only; Merlin's
  gates all read the raw input; LibMTL's shared experts read each task's
  representation, and there is no shared path.
  """
  raw = x['shared']
  x = dict.fromkeys([*net.tasks, 'shared'], raw)
  own_num, shared_num = net['num_task_experts'], net['num_shared_experts']
  for j in range(net['levels']):
    task_experts = {
        t: net.experts(f'{t} {j}', own_num, x[t]) for t in net.tasks
    }
    new = {}
    for t in net.tasks:
      source = x[t] if shared_experts_read_tasks else x['shared']
      shared = net.experts(f'shared {j}', shared_num, source)
      selector = raw if gates_read_raw else x[t]
      new[t] = net.gate(f'{t} {j}', selector, task_experts[t] + shared)
    if j + 1 < net['levels']:
      shared = net.experts(f'shared {j}', shared_num, x['shared'])
      every = [e for t in net.tasks for e in task_experts[t]] + shared
      first = 0 if shared_gate_sees_all else len(every) - shared_num
      new['shared'] = net.gate(
          f'shared {j}', raw if gates_read_raw else x['shared'], every,
          only=slice(first, None))
    x = new
  return {t: net.tower(t, x[t]) for t in net.tasks}


def dbmtl(
    net: Net, x: Vectors, hands_on_probability: bool = False
) -> Outputs:
  """Wang et al., DBMTL, arXiv 1902.09154, in the form of EasyRec's dbmtl.py.

  Parents are joined by name.
  """
  x = net.mlp('bottom', x['shared'], net['shared_units'])
  inputs = dict.fromkeys(net.tasks, x)
  if net.options.get('num_experts'):
    experts = net.experts('shared', net['num_experts'], x)
    inputs = {t: net.gate(t, x, experts) for t in net.tasks}
  edges = [e.split(' -> ') for e in net.options.get('relations', ())]
  if 'relations' not in net.options:
    edges = [(p, t) for t, p in net.parents.items() if p]
  y: Outputs = {}

  def related(task: str) -> Vector:
    parts = [net.mlp(f'tower {task}', inputs[task], net['tower_units'])]
    for parent in sorted(net.tasks):
      if [parent, task] in [list(e) for e in edges]:
        parts.append(related(parent))
    h = net.mlp(
        f'relation {task}', np.concatenate(parts), net['relation_units']
    )
    y[task] = net.out(f'tower {task}', h)
    return 1 / (1 + np.exp(-np.array([y[task]]))) if hands_on_probability else h

  for t in net.tasks:
    related(t)
  return y


def aitm(net: Net, x: Vectors, hands_on_own: bool = False) -> Outputs:
  """Xi et al., AITM, KDD 2021, section 3.2; wrong form: hands on q, not z."""
  y: Outputs = {}

  def z(task: str) -> Vector:
    q = net.mlp(f'tower {task}', x['shared'], net['tower_units'])
    handed = q
    if parent := net.parents[task]:
      k = len(q)
      p = net.mlp(f'transfer {task}', z(parent), (k,))
      rows = [net.linear(f'query {task}', u, k, bias=False)
              @ net.linear(f'key {task}', u, k, bias=False) for u in (p, q)]
      weights = softmax(np.array(rows) / np.sqrt(k))
      q = sum(w * net.linear(f'value {task}', u, k, bias=False)
              for w, u in zip(weights, (p, q)))
    y[task] = net.out(f'tower {task}', q)
    return handed if hands_on_own else q

  for t in net.tasks:
    z(t)
  return y


def stem(
    net: Net, x: Vectors, gates_read_own: bool = False,
    own_experts_only: bool = False,
) -> Outputs:
  """Su et al., STEM, AAAI 2024, and the authors' models/STEM.py.

  The stop of gradients does not show in outputs. Wrong forms: gates on x_k
  without x_s; PLE's choice of experts, without the other tasks'.
  """
  num, shared_num = net['num_task_experts'], net['num_shared_experts']
  for j in range(net['levels']):
    task_experts = {t: net.experts(f'{t} {j}', num, x[t]) for t in net.tasks}
    every = [e for t in net.tasks for e in task_experts[t]]
    every += net.experts(f'shared {j}', shared_num, x['shared'])
    new = {}
    for i, t in enumerate(net.tasks):
      selector = x[t] if gates_read_own else x[t] + x['shared']
      seen = list(range(len(every)))
      if own_experts_only:
        first = len(every) - shared_num
        seen = [e for e in seen if i * num <= e < (i + 1) * num or e >= first]
      hidden = net.mlp(f'gate {t} {j}', selector, net['gate_units'])
      scores = net.linear(f'gate {t} {j}/out', hidden, len(every))
      weights = softmax(scores[seen])
      new[t] = sum(w * every[e] for w, e in zip(weights, seen))
    if j + 1 < net['levels']:
      new['shared'] = net.gate(
          f'shared {j}', x['shared'], every, net['gate_units'], bias=True)
    x = new
  return {t: net.tower(t, x[t]) for t in net.tasks}


def adatt(net: Net, x: Vectors) -> Outputs:
  """Li et al., AdaTT, KDD 2023, section 3, and the authors' mtl_lib.py.

  Their numbers v are added to the gates' weights of the own experts.
  """
  sizes = {t: net['num_task_experts'] for t in net.tasks}
  if net.options.get('num_shared_experts'):
    sizes['shared'] = net['num_shared_experts']
  units = list(sizes)
  x = dict.fromkeys(units, x['shared'])
  for j in range(net['levels']):
    every, owners = [], []
    for u in units:
      every += net.experts(f'{u} {j}', sizes[u], x[u])
      owners += [u] * sizes[u]
    new = {}
    for u in units:
      if u == 'shared' and j + 1 == net['levels']:
        continue
      weights = softmax(net.linear(f'gate {u} {j}/out', x[u], len(every)))
      if net.options.get('residual', True):
        v = np.ones(sizes[u])
        if set(sizes.values()) != {1}:
          v = net.param(f'native {u} {j}/v', sizes[u])
        weights[[i for i, o in enumerate(owners) if o == u]] += v
      new[u] = sum(w * e for w, e in zip(weights, every))
    x = new
  return {t: net.tower(t, x[t]) for t in net.tasks}


MODELS = {f.__name__: f for f in (
    adatt, aitm, dbmtl, mmoe, ple, shared_bottom, shared_embedding, single_task,
    stem)}


def tables(case: Case) -> list[str]:
  """Owners of the embeddings that an id has."""
  tasks = [t for t, _ in case.tasks]
  apart = not case.options.get('share_embeddings', True)
  if case.model == 'single_task' or apart:
    return tasks
  return [*tasks, 'shared'] if case.model == 'stem' else ['shared']


def first_order(case: Case) -> int:
  """First-order weights behind each embedding."""
  if case.options.get('interaction') != 'deepfm':
    return 0
  return len(case.tasks) if tables(case) == ['shared'] else 1


def outputs(
    case: Case, seed: int = 0, **wrong: bool
) -> tuple[dict[str, Vector], dict[str, np.ndarray]]:
  """Task -> output of each example, and the parameters by name."""
  net, y = Net(case, seed), []
  batch = toy.random_batch(EXAMPLES, num_rows=ROWS)
  for b in range(EXAMPLES):
    x = {}
    for owner in tables(case):
      table = net.param(f'table {owner}', ROWS, D + first_order(case))
      parts = fields(batch, b, table[:, :D])
      whole = np.concatenate(list(parts.values()))
      x[owner] = cross(net, owner, whole)
      if net.options.get('groups'):
        x[owner] = grouped(net, parts)
      if net['interaction'] == 'fm':
        x[owner] = np.concatenate([x[owner], pairs(net, owner, parts)])
    y.append(MODELS[case.model](net, x, **wrong))
    if net['interaction'] == 'deepfm':
      for t in net.tasks:
        y[-1][t] += machine(net, t, batch, b)
  return {t: np.array([one[t] for one in y]) for t in net.tasks}, net.values


def cases() -> Iterator[tuple[str, Case]]:
  """Every case by a name; the numbers are levels, own and shared experts."""
  smooth = dict(activation='tanh')
  towers = dict(smooth, tower_units=(4, 3))
  experts = dict(smooth, tower_units=(3,), expert_units=(4,))
  bottom = dict(towers, shared_units=(5,), relation_units=(3,))
  adatts = ((2, 2, 0), (2, 1, 1), (1, 1, 2), (2, 1, 0), (2, 2, 1))
  wide = dict(tower_units=(9,), shared_units=(9,))

  def levels(*numbers: int, **options: Any) -> dict[str, Any]:
    names = ('levels', 'num_task_experts', 'num_shared_experts')
    return {**experts, **dict(zip(names, numbers)), **options}

  for ending, tasks in (('', FUNNEL), (' of three', CART)):
    three = len(tasks) == 3
    for model, options in (
        ('single_task', towers), ('mmoe', dict(experts, num_experts=3)),
        ('dbmtl', bottom), ('aitm', towers),
    ):
      yield model + ending, Case(model, options, tasks)
    for n in ((1, 1, 1), (2, 2, 1), (3, 1, 3))[three:]:
      yield f'ple {n}{ending}', Case('ple', levels(*n), tasks)
    for n in ((1, 1, 1), (2, 1, 2), (2, 2, 1))[2 * three:]:
      options = levels(*n, gate_units=(3,))
      yield f'stem {n}{ending}', Case('stem', options, tasks)
    for n in adatts[3 * three:]:
      yield f'adatt {n}{ending}', Case('adatt', levels(*n), tasks)

  yield 'shared_embedding', Case('shared_embedding', towers)
  for name, model, options in (
      ('apart', 'shared_embedding', dict(towers, share_embeddings=False)),
      ('groups', 'shared_embedding', dict(
          towers, groups=(('tags', 'user'), ('price',)), group_units=(3,))),
      ('one gate', 'mmoe', dict(experts, num_experts=3, one_gate=True)),
      ('deep', 'mmoe', dict(
          smooth, tower_units=(), expert_units=(4, 3), num_experts=2)),
      # Experts as wide as the input, so that gates can read the wrong one.
      ('square', 'ple', levels(2, 1, 2, expert_units=(WIDTH,))),
      ('no edges', 'dbmtl', dict(bottom, relations=())),
      ('mmoe', 'dbmtl', dict(
          towers, shared_units=(), relation_units=(3,), num_experts=2,
          expert_units=(4,))),
      ('both', 'dbmtl', dict(bottom, num_experts=2, expert_units=(4,))),
      # A hidden layer of one unit could be taken for the probability.
      ('one unit', 'dbmtl', dict(bottom, relation_units=(1,))),
      ('plain gates', 'stem', levels(1, 1, 1, gate_units=())),
      ('no residual', 'adatt', levels(2, 2, 0, residual=False)),
  ):
    yield f'{model} {name}', Case(model, options)
  for name, relations in (
      ('two parents', ('atr -> ptr', 'ctr -> ptr')),
      ('backwards', ('ptr -> atr', 'atr -> ctr')),
  ):
    options = dict(bottom, relations=relations)
    yield f'dbmtl {name}', Case('dbmtl', options, CART)
  for name, options in (
      ('', {}),
      (' relu', dict(activation='relu')),
      (' prelu', dict(activation='prelu')),
      (' dice', dict(activation='dice')),
      (' layer norm', dict(norm='layer')),
      (' batch norm', dict(norm='batch')),
      (' dice and batch norm', dict(activation='dice', norm='batch')),
      (' full crosses', dict(cross_layers=2)),
      (' low-rank crosses', dict(cross_layers=2, cross_rank=2)),
  ):
    options = {**smooth, **wide, **options}
    yield f'shared_bottom{name}', Case('shared_bottom', options)
  yield 'single_task crosses', Case('single_task', dict(towers, cross_layers=1))
  for name, options in (
      ('crosses', dict(cross_layers=1)), ('batch norm', dict(norm='batch'))):
    options = levels(1, 1, 1, gate_units=(3,), **options)
    yield f'stem {name}', Case('stem', options)
  yield 'shared_bottom fm', Case(
      'shared_bottom', dict(smooth, **wide, interaction='fm', cross_layers=1))
  yield 'stem fm', Case(
      'stem', levels(1, 1, 1, gate_units=(3,), interaction='fm'))
  for name, model, options, tasks in (
      ('', 'shared_embedding', dict(tower_units=()), CART),
      (' apart', 'shared_embedding', dict(towers, share_embeddings=False),
       FUNNEL),
      ('', 'single_task', towers, FUNNEL), ('', 'dbmtl', bottom, FUNNEL),
      ('', 'aitm', towers, FUNNEL),
      ('', 'stem', levels(1, 1, 1, gate_units=(3,)), FUNNEL),
  ):
    options = dict(options, interaction='deepfm')
    yield f'{model}{name} deepfm', Case(model, options, tasks)


CASES = dict(cases())


def checksum(values: dict[str, np.ndarray]) -> str:
  """Changes with any name, shape or number of the parameters."""
  digest = hashlib.sha256()
  for name in sorted(values):
    digest.update(f'{name} {values[name].shape}'.encode())
    digest.update(values[name].astype('<f8').tobytes())
  return digest.hexdigest()[:16]


def computed() -> dict[str, Any]:
  """Computes the contents of the file: case -> outputs and checksum."""
  stored = {}
  for name, case in CASES.items():
    y, values = outputs(case)
    stored[name] = dict(
        outputs={t: v.tolist() for t, v in y.items()},
        parameters=checksum(values),
    )
  return stored


if __name__ == '__main__':
  FILE.write_text(json.dumps(computed(), indent=1) + '\n', 'utf-8')
