"""Tests of warm_start."""
