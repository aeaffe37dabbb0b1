"""Exports a finished run's model: StableHLO that runs without this package.

  python -m experiments.export --workdir=runs/esmm --output=exported

The folder gets the program (any number of rows, CPU, GPU and TPU), the
parameters as .npy files beside it, and description.json with its inputs and
outputs; encode.py makes the inputs of raw rows, serve.py serves scores over
HTTP. --workdir=a,b,c puts the mean of several runs into one program, with
the parameters of each. docs/predictions.md has the ten lines that load it.
"""

from absl import flags

from esmm_jax.experiments import cli, console, file_flags

file_flags.define_runs()
_OUTPUT = file_flags.define_path('output', None, 'Folder to write.')
_CALIBRATED, _JOINT = file_flags.define_calibration()
cli.define_data_dir()
flags.adopt_module_key_flags(cli)


def main() -> None:
  import esmm_jax
  from esmm_jax.serving.exporting import export

  cli.require('workdir', 'runs/esmm')
  output = cli.require('output', 'exported')
  folders = file_flags.runs()
  predictor = esmm_jax.load(folders, data_dir=flags.FLAGS.data_dir)
  sizes = export(predictor, output, _CALIBRATED.value, _JOINT.value)
  console.say(
      f'{output}: program {sizes["model"] / 1e3:,.1f} kB, parameters'
      f' {sizes["params"] / 1e6:,.2f} MB'
  )


if __name__ == '__main__':
  cli.run(main)
