"""A trained model as StableHLO that runs without this package.

    DIR/model.jax_export     what `jax.export` serialises, with a symbolic
                             number of rows; without the parameters
    DIR/params/NAME.npy      the parameters, the embedding table among them
    DIR/description.json     inputs, outputs and parameters, for people too
    DIR/encoder/             of runs that have one: raw values -> ids

The parameters lie beside the program: as constants in it a table would be
parsed and copied each time it is loaded.
"""

from collections.abc import Mapping
import importlib.util
import json
import os
import shutil
from typing import Any

from esmm_jax.data.batching.padding import pad_lists
from esmm_jax.data.tabular.encoder import FOLDER
from esmm_jax.json_files import write_json
from esmm_jax.schema import MISSING, RARE, Schema, SlotLayout
from esmm_jax.serving import calibration
from esmm_jax.serving.predictor import Predictor
from esmm_jax.tasks import spaces
from esmm_jax.training.step import predict_step
from esmm_jax.types import Array, Batch, Columns, Groups, InputError
import jax
from jax import export as jax_export
import jax.numpy as jnp
import numpy as np

MODEL = 'model.jax_export'
DESCRIPTION = 'description.json'
PARAMS = 'params'
PLATFORMS = ('cpu', 'cuda', 'tpu')
ABSENT = -1  # Entries past the end of a list.
VERSION = 1


def export(
    predictor: Predictor,
    folder: str,
    calibrated: str = 'none',
    joint: str = 'product',
) -> dict[str, int]:
  """Writes a model; the folder appears when it is complete.

  Args:
    predictor: The model.
    folder: Must not exist.
    calibrated: As for `Predictor.predict`.
    joint: As there.

  Returns:
    Bytes of `model` and of `params`.

  Raises:
    InputError: The folder exists, the run is not calibrated, or the package
      flatbuffers, which jax serialises with, is not there.
  """
  if importlib.util.find_spec('flatbuffers') is None:
    raise InputError(
        'the export needs the package flatbuffers: pip install'
        " 'esmm_jax[export]'."
    )
  if os.path.exists(folder):
    raise InputError(f'--output={folder} exists. Delete it, or name another.')
  schema = predictor.schema
  params = flat_params(predictor)
  function = _function(predictor, calibrated, joint)
  (rows,) = jax_export.symbolic_shape('b')
  like = {
      i['name']: jax.ShapeDtypeStruct((rows, *i['shape'][1:]), i['dtype'])
      for i in described_inputs(schema)
  }
  exported = jax_export.export(jax.jit(function), platforms=PLATFORMS)(
      jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), params),
      like,
  )
  program = exported.serialize()
  temporary = f'{folder}.{os.getpid()}.tmp'
  os.makedirs(os.path.join(temporary, PARAMS))
  try:
    with open(os.path.join(temporary, MODEL), 'wb') as f:
      f.write(program)
    for name, value in params.items():
      np.save(os.path.join(temporary, PARAMS, f'{name}.npy'), value)
    if os.path.isdir(encoder := os.path.join(predictor.folder, FOLDER)):
      shutil.copytree(encoder, os.path.join(temporary, FOLDER))
    about = _description(predictor, params, calibrated, joint)
    write_json(os.path.join(temporary, DESCRIPTION), about)
    os.rename(temporary, folder)
  finally:
    shutil.rmtree(temporary, ignore_errors=True)
  total = sum(np.asarray(value).nbytes for value in params.values())
  return {'model': len(program), 'params': total}


def load(folder: str) -> tuple[Any, dict[str, Array]]:
  """What `export` wrote: the compiled call, and the parameters on the device.

  For measurements; those who have the package use a `Predictor`.
  """
  with open(os.path.join(folder, DESCRIPTION), encoding='utf-8') as f:
    about = json.load(f)
  with open(os.path.join(folder, MODEL), 'rb') as f:
    model = jax_export.deserialize(bytearray(f.read()))
  params = {
      p['name']: jax.device_put(np.load(os.path.join(folder, p['file'])))
      for p in about['params']
  }
  return jax.jit(model.call), params


def features(schema: Schema, columns: Columns) -> dict[str, np.ndarray]:
  """Encoded columns -> the inputs of an exported model."""
  made = {}
  for f in schema.fields:
    column = columns[f.name]
    if f.kind == 'float':
      made[f.name] = np.asarray(column, np.float32)
    elif f.kind == 'id':
      made[f.name] = np.asarray(column, np.int32)
      if f.weighted:
        name = f'{f.name}.weight'
        made[name] = np.asarray(columns[name], np.float32)
    else:
      ids, weights = pad_lists(column, f.max_len)
      past = np.arange(f.max_len) >= np.diff(column.offsets)[:, None]
      made[f.name] = np.where(past, np.int32(ABSENT), ids)
      if f.weighted:
        made[f'{f.name}.weight'] = weights
  return made


def flat_params(predictor: Predictor) -> dict[str, Array]:
  """The parameters by name, `net.tower_ctr.logit.kernel` say."""
  leaves = jax.tree.leaves_with_path(dict(predictor.trained.params))
  return {_name(path): leaf for path, leaf in leaves}


def _name(path: Any) -> str:
  return jax.tree_util.keystr(path, simple=True, separator='.')


def described_inputs(schema: Schema) -> list[dict[str, Any]]:
  """Name, dtype and shape of each input, and what it means."""
  made = []
  for f in schema.fields:
    shape = ['b', f.max_len] if f.kind == 'ids' else ['b']
    if f.kind == 'float':
      about = 'a finite number, scaled as in the data that the run was of'
    else:
      about = (
          f'ids 0 to {f.vocab_size - 1}; {MISSING} is missing, {RARE} rare or'
          ' never seen, and so is what lies past the last'
      )
    if f.kind == 'ids':
      about += f'; {ABSENT} behind the end of a list'
    one = dict(name=f.name, kind=f.kind, shape=shape, about=about)
    dtype = 'float32' if f.kind == 'float' else 'int32'
    size = {} if f.kind == 'float' else {'vocab_size': f.vocab_size}
    made.append(one | {'dtype': dtype} | size)
    if f.weighted:
      made.append(
          dict(
              name=f'{f.name}.weight',
              kind='weight',
              shape=shape,
              about=f'weight of each entry of {f.name}',
              dtype='float32',
          )
      )
  return made


def _description(
    predictor: Predictor,
    params: Mapping[str, Array],
    calibrated: str,
    joint: str,
) -> dict[str, Any]:
  return {
      'version': VERSION,
      'model': MODEL,
      'call': 'model.call({param name: array}, {input name: array})',
      'inputs': described_inputs(predictor.schema),
      'outputs': [
          {'name': _column(space), 'dtype': 'float32', 'shape': ['b']}
          for space in {s.output: s for s in spaces(predictor.schema.tasks)}
          .values()
      ],
      'params': [
          {
              'name': name,
              'file': f'{PARAMS}/{name}.npy',
              'shape': list(value.shape),
              'dtype': str(value.dtype),
          }
          for name, value in params.items()
      ],
      'calibrated': calibrated,
      'joint': joint,
      'selected_step': predictor.results.get('selected_step'),
      'platforms': list(PLATFORMS),
      'jax': jax.__version__,
  }


def _column(space: Any) -> str:
  prefix = 'p' if space.kind == 'binary' else 'predicted'
  return f'{prefix}_{space.output}'


def _function(predictor: Predictor, calibrated: str, joint: str) -> Any:
  """The function that is exported, (params, features) -> probabilities."""
  schema, plan = predictor.schema, predictor.trained.plan
  tree = jax.tree.map(lambda _: 0, dict(predictor.trained.params))
  paths, structure = jax.tree.flatten_with_path(tree)
  names = [_name(path) for path, _ in paths]
  entries = {}
  if calibrated != 'none':
    entries = calibration.read(predictor.folder, calibrated)

  def function(params, inputs):
    params = structure.unflatten([params[name] for name in names])
    batch = _batch(schema, inputs)
    outputs, _ = predict_step(
        params['table'], params['net'], params['stats'], batch, plan=plan
    )
    outputs = {name: value[0] for name, value in outputs.items()}
    if entries:
      outputs = calibration.apply(
          entries, calibrated, joint, outputs, schema.tasks, jnp
      )
    return {
        _column(s): jax.nn.sigmoid(outputs[s.output])
        if s.kind == 'binary'
        else outputs[s.output]
        for s in spaces(schema.tasks)
    }

  return function


def _batch(schema: Schema, inputs: Mapping[str, Array]) -> Batch:
  """The inputs as the model takes them; each row is its own group."""
  first = inputs[schema.fields[0].name]
  rows = first.shape[0]
  slots, weights = _slots(schema, schema.row_part, inputs, rows)
  groups = None
  if schema.group_part.num_slots:
    groups = Groups(
        *_slots(schema, schema.group_part, inputs, rows),
        jnp.arange(rows, dtype=jnp.int32),
    )
  floats = [inputs[f.name][:, None] for f in schema.float_fields]
  return Batch(
      rows=jnp.zeros(0, jnp.int32),
      slots=slots,
      weights=weights,
      floats=jnp.concatenate([jnp.zeros((rows, 0)), *floats], axis=1),
      labels={},
      where=jnp.ones(rows),
      groups=groups,
  )


def _slots(
    schema: Schema, part: SlotLayout, inputs: Mapping[str, Array], rows: Any
) -> tuple[Array, Array]:
  """Rows of the table [b, S] and weights [b, W] of a part."""
  slots = [jnp.zeros((rows, 0), jnp.int32)]
  weights = [jnp.zeros((rows, 0))]
  for f in part.fields:
    ids = inputs[f.name].reshape(rows, f.max_len)
    known = jnp.where(ids >= f.vocab_size, RARE, jnp.maximum(ids, MISSING))
    slots.append(known + schema.offsets[f.table])
    if f.pooled:
      weight = jnp.ones((rows, f.max_len))
      if f.weighted:
        weight = inputs[f'{f.name}.weight'].reshape(rows, f.max_len)
      there = ids >= 0 if f.kind == 'ids' else True
      weights.append(jnp.where(there, weight, 0.0))
  return jnp.concatenate(slots, axis=1), jnp.concatenate(weights, axis=1)
