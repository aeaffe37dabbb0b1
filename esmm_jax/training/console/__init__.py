"""Lines that people read while a run is trained: its header, evaluations."""
