"""Golden values, and the float64 programs that make them."""
