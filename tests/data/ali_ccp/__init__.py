"""Tests of data.ali_ccp."""
