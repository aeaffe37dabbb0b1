"""Tests of estimators."""
