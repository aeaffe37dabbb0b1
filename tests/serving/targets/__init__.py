"""Tests of what scores are written into."""
