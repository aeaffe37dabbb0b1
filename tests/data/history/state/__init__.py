"""The state that travels."""
