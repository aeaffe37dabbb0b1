"""Tests, in folders named like those of the packages that they test."""

import pathlib

ROOT = pathlib.Path(__file__).parents[1]  # Of the repository.
