"""Tests of workdir."""
