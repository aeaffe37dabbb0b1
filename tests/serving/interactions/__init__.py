"""Tests of a run with model.interaction that is scored and exported."""
