"""A simulated log with the truth per row (`dataset.name=synthetic_funnel`)."""
