"""How the gradients of the tasks are combined.

  static   one fixed weight a term
"""
