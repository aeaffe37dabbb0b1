"""Several devices and several processes.

  layout     the mesh, and where each array lives on it
  axes       which axis of a leaf is the rows' and which the replicas'
  processes  what only the first process does, and where all wait
"""
