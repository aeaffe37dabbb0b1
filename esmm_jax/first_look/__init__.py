"""A first look at prepared data: rates, gaps, and columns that say too much.

What a person would look at before a training, and what `prepare_data` and
`train` print. No JAX.
"""
