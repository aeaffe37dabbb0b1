"""Tests of data.simulator."""
