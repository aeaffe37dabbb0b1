"""Engines: a function over parts of some work, in one process or in several.

In comes a function with its parts; out come what it returns for each, in the
order of the parts, whoever did what. `choice` has the engine that is chosen.
"""
