"""Exports a trained model as StableHLO that runs without this package.

    DIR/model.jax_export     the program that `jax.export` serialises, with a
                             symbolic number of rows; without the parameters
    DIR/params/NAME.npy      the parameters, the embedding table among them;
                             those of several runs begin with 0., 1. and so on
    DIR/description.json     inputs, outputs and parameters, for people too;
                             the run, and the size and sha256 of every file
    DIR/encoder/             of runs that have one: raw values -> ids
    DIR/encode.py            raw rows -> inputs; DIR/serve.py: scores over HTTP
    DIR/esmm_kit/            the modules of both

The parameters are files beside the program: as constants in it a table would
be parsed and copied each time it is loaded.
"""

from collections.abc import Mapping
import importlib.util
import os
import shutil
from typing import Any

from esmm_jax import checksums
from esmm_jax.data.history.state import saved
from esmm_jax.data.tabular.encoder import FOLDER
from esmm_jax.json_files import write_json
from esmm_jax.schema import MISSING, RARE, Schema
from esmm_jax.serving import calibrators, model_inputs
from esmm_jax.serving.averaged import mean_outputs
from esmm_jax.serving.exported import DESCRIPTION, MODEL, PARAMS, VERSION
from esmm_jax.serving.kit import files, program
from esmm_jax.serving.model_inputs import ABSENT
from esmm_jax.serving.predictor import Predictor
from esmm_jax.tasks import Space, spaces
from esmm_jax.training.prediction import predict_step
from esmm_jax.types import Array, InputError
from esmm_jax.whole_files import new_folder, save_array
import jax
from jax import export as jax_export
import jax.numpy as jnp
import numpy as np

PLATFORMS = ('cpu', 'cuda', 'tpu')


def export(
    predictor: Predictor,
    folder: str,
    calibrated: str = 'none',
    joint: str = 'product',
) -> dict[str, int]:
  """Exports a model; the folder appears when it is complete.

  Args:
    predictor: The model.
    folder: Must not exist.
    calibrated: See `Predictor.predict`.
    joint: See there.

  Returns:
    Bytes of `model` and of `params`.

  Raises:
    InputError: The folder exists, the run is not calibrated, or the package
      flatbuffers, which jax serialises with, is not installed.
  """
  if importlib.util.find_spec('flatbuffers') is None:
    raise InputError(
        'the export needs the package flatbuffers: pip install'
        " 'esmm_jax[export]'."
    )
  if os.path.lexists(folder):
    raise InputError(f'--output={folder} exists. Name another folder.')
  params = flat_params(predictor)
  serialized = _serialized(predictor, params, calibrated, joint)
  about = _description(predictor, params, calibrated, joint)
  os.makedirs(os.path.dirname(os.path.abspath(folder)), exist_ok=True)
  with new_folder(folder) as temporary:
    os.mkdir(os.path.join(temporary, PARAMS))
    with open(os.path.join(temporary, MODEL), 'wb') as f:
      f.write(serialized)
    for name, value in params.items():
      save_array(os.path.join(temporary, PARAMS, f'{name}.npy'), value)
    if os.path.isdir(encoder := os.path.join(predictor.folder, FOLDER)):
      shutil.copytree(encoder, os.path.join(temporary, FOLDER))
    _write_kit(predictor, temporary)
    about['files'] = checksums.contents(temporary)
    write_json(
        os.path.join(temporary, DESCRIPTION), checksums.sealed_content(about)
    )
  total = sum(np.asarray(value).nbytes for value in params.values())
  return {'model': len(serialized), 'params': total}


def _write_kit(predictor: Predictor, folder: str) -> None:
  """Writes the history as it is now, and what encodes and serves rows."""
  history = predictor.history
  if history is not None:
    encoder = os.path.join(folder, FOLDER)
    shutil.rmtree(saved.folder_of(encoder))
    saved.save(saved.Saved(history.fitted, history.store), encoder)
  as_of = None if history is None else history.as_of
  files.write(folder, predictor.schema, history is not None, as_of)


def _serialized(
    predictor: Predictor,
    params: Mapping[str, Array],
    calibrated: str,
    joint: str,
) -> bytearray:
  """Compiles the model for any number of rows and all platforms."""
  (rows,) = jax_export.symbolic_shape('b')
  arguments = {
      i['name']: jax.ShapeDtypeStruct((rows, *i['shape'][1:]), i['dtype'])
      for i in described_inputs(predictor.schema)
  }
  function = _function(predictor, calibrated, joint)
  compiled = jax_export.export(jax.jit(function), platforms=PLATFORMS)(
      jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), params),
      arguments,
  )
  return compiled.serialize()


def load(folder: str) -> tuple[Any, dict[str, Array]]:
  """Loads an export: the jitted call, and its parameters on the device.

  For measurements; with the package installed, use a `Predictor`.

  Args:
    folder: Of the export; every file in it is checked before it is read.

  Raises:
    InputError: It is no export, or a file in it is not as it was exported.
  """
  _, model, params = program.read(folder)
  return jax.jit(model.call), params


def flat_params(predictor: Predictor) -> dict[str, Array]:
  """Returns the parameters by name: `table`, `net.tower_ctr.out.kernel`."""
  leaves = jax.tree.leaves_with_path(_params(predictor))
  return {_name(path): leaf for path, leaf in leaves}


def _params(predictor: Predictor) -> dict[str, Any]:
  """Returns the parameters of the run, or of each member by its number."""
  every = [dict(member.params) for member in predictor.members]
  if len(every) == 1:
    return every[0]
  return {str(number): params for number, params in enumerate(every)}


def _name(path: Any) -> str:
  return jax.tree_util.keystr(path, simple=True, separator='.')


def described_inputs(schema: Schema) -> list[dict[str, Any]]:
  """Describes each input: name, dtype, shape and meaning."""
  described = []
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
    described.append(one | {'dtype': dtype} | size)
    if f.weighted:
      described.append(
          dict(
              name=f'{f.name}.weight',
              kind='weight',
              shape=shape,
              about=f'weight of each entry of {f.name}',
              dtype='float32',
          )
      )
  return described


def _description(
    predictor: Predictor,
    params: Mapping[str, Array],
    calibrated: str,
    joint: str,
) -> dict[str, Any]:
  return {
      'version': VERSION,
      **predictor.about(),
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


def _column(space: Space) -> str:
  prefix = 'p' if space.kind == 'binary' else 'predicted'
  return f'{prefix}_{space.output}'


def _function(predictor: Predictor, calibrated: str, joint: str) -> Any:
  """Returns the function to export, (params, features) -> probabilities."""
  schema = predictor.schema
  plans = [member.plan for member in predictor.members]
  tree = jax.tree.map(lambda _: 0, _params(predictor))
  paths, structure = jax.tree.flatten_with_path(tree)
  names = [_name(path) for path, _ in paths]
  order = list(map(str, range(len(plans))))
  fitted = {}
  if calibrated != 'none':
    fitted = predictor.calibrators(calibrated)

  def function(params, inputs):
    params = structure.unflatten([params[name] for name in names])
    num = inputs[schema.fields[0].name].shape[0]
    batch = model_inputs.to_batch(
        schema, _bounded(schema, inputs), jnp.ones(num), jnp
    )
    every = [params] if len(plans) == 1 else list(map(params.get, order))
    members = [
        predict_step(p['table'], p['net'], p['stats'], batch, plan=plan)[0]
        for p, plan in zip(every, plans)
    ]
    outputs = mean_outputs(members, schema.tasks)
    outputs = {name: value[0] for name, value in outputs.items()}
    if fitted:
      outputs = calibrators.calibrate_outputs(
          fitted, calibrated, joint, outputs, schema.tasks, jnp
      )
    return {
        _column(s): jax.nn.sigmoid(outputs[s.output])
        if s.kind == 'binary'
        else outputs[s.output]
        for s in spaces(schema.tasks)
    }

  return function


def _bounded(
    schema: Schema, inputs: Mapping[str, Array]
) -> dict[str, Array]:
  """Maps ids outside their vocabulary to RARE and MISSING.

  The predictor refuses them. Nobody checks the inputs of an exported program,
  where they would read a row of another field's table.
  """
  bounded = dict(inputs)
  for f in (*schema.row_part.fields, *schema.group_part.fields):
    least = ABSENT if f.kind == 'ids' else MISSING
    ids = jnp.maximum(inputs[f.name], least)
    bounded[f.name] = jnp.where(ids >= f.vocab_size, RARE, ids)
  return bounded
