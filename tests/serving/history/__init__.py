"""Histories when scores are asked for."""
