"""Says which folders go into the package; all else stands in setup.cfg.

The folders configs/ and experiments/ become `esmm_jax.configs` and
`esmm_jax.experiments`, which a list in setup.cfg cannot say without naming
every folder of the package.
"""

import setuptools

OUTSIDE = ('configs', 'experiments')

setuptools.setup(
    packages=[
        *setuptools.find_packages(include=['esmm_jax', 'esmm_jax.*']),
        *(
            f'esmm_jax.{name}'
            for name in setuptools.find_packages(
                include=[*OUTSIDE, *(f'{name}.*' for name in OUTSIDE)]
            )
        ),
    ],
    package_dir={f'esmm_jax.{name}': name for name in OUTSIDE},
)
