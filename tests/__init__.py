"""Tests; a package, because a TFDS builder must live in one."""
