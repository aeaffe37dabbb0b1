"""Finished runs as text, pictures and pages.

  text            a results table as Markdown, CSV or LaTeX
  grid            grids of texts, and the formats of values
  gain_grid       gains over the baseline, and the verdict on two of them
  front_grid      curves of a results table, and the gain of their fronts
  margin_grid     points of a results table against one of its curves
  history_notes   what the histories of runs know
  figures, plots  pictures
  page            a run or a sweep as one HTML file
"""
