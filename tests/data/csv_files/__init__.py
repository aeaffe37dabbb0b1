"""Tests of data.files."""
