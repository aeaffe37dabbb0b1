"""`dataset.name=synthetic_funnel`: a simulated log with the truth per row."""
