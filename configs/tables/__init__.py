"""One file for each table or figure; its docstring says how to run it."""
