"""Tests of data.kuairand."""
