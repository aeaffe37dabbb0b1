"""Tests of several runs as one model."""
