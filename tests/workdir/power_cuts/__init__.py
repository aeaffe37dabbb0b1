"""Power cuts while a run is trained."""
