"""Parts of a run from outside of this repository.

    registry  names -> models, estimators, metrics, data sets; plugins add to it
    loading   imports the modules that the key `plugins` of a config names
    sources   the source files of a plugin and their checksum
"""
