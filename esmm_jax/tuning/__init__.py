"""Search for the keys of a config that are best on the validation split.

`space` reads what may be searched, `search` asks Optuna for trials and tells it
how they went, `early_end` ends a run that is worse than the others.
`experiments.tune` trains the trials.
"""
