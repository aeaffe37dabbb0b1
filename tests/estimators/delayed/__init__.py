"""Tests of estimators.delayed."""
