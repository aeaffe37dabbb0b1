"""Tests of methods of balancing that look at losses, or at nothing."""
