"""Configs: one file per model; `common.py` holds what they share."""
