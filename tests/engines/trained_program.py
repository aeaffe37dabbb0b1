"""JaxTrainer on a Ray that pretends to have GPUs, in a process of its own."""

import sys

from esmm_jax.engines import ray_start
from esmm_jax.engines.together import attempts, starting


def main(word, folder):
  with ray_start.silent(), ray_start.environment(ray_start.safe()):
    ray = ray_start.load()
    ray.init(
        address='local', num_cpus=2, num_gpus=2, include_dashboard=False,
        logging_level='WARNING', log_to_driver=False)
  request = starting.Request('ray', 2, 'GPU=1', folder=folder)
  with starting.opened(request) as start:
    program = starting.program(
        'tests.engines.saying_in_run', ['saying', word, folder], 2)
    code = attempts.run(lambda: start(program), 2, 1, False)
  ray.shutdown()
  sys.exit(code)


if __name__ == '__main__':
  main(*sys.argv[1:])
