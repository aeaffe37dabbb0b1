"""Golden values of other libraries, and the programs that make them."""
