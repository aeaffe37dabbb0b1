"""Tests of easyrec."""
