"""Tests of data.store."""
