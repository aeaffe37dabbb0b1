"""Methods that read the products of the tasks' gradients.

One file each, and what several of them need:

  active_sets   which tasks are present, and sets of them by enumeration
  newton        the root of G w = 1 / w^a
  jacobi        eigenvalues of small matrices
  memory        running means
"""
