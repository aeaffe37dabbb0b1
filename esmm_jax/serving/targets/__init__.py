"""Targets of scores: one file, or a folder with a file of each part.

In come the parts of a job, in the order of the rows; out comes what `--output`
names, whole or not at all.
"""
