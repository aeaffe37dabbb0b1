"""Finished runs as text, pictures and pages.

  text       a results table as text, Markdown, CSV or LaTeX
  grid, gain_grid, front_grid   the cells of a results table
  figures, plots   pictures
  page       a run or a sweep as one HTML file
"""
