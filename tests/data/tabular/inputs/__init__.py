"""Tests of data.tabular."""
