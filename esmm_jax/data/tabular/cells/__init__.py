"""Inputs that are made of columns: buckets of a number, crosses of two.

Both become texts, of which identifiers are made: `[0, 10)`, `paris*shoes`.
"""
