"""Tests of data.batching."""
