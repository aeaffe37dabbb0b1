"""One file for each table or figure; its docstring has the commands."""
