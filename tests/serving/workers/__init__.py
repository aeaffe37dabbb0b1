"""Tests of scoring in several processes."""
