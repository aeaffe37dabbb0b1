"""Command-line programs; absl flags live only here."""

from esmm_jax.entry import checkout, requirements

if __name__ == 'experiments':  # In a checkout: see there.
  checkout.alias(__name__)
else:
  requirements.check_program()
