"""Finished runs as text, pictures and pages.

  text            a results table as Markdown, CSV or LaTeX
  grid            grids of texts, and the formats of values
  tex             grids in LaTeX, as floats that fit a paper
  means_grid      means over seeds; best: which of them are in bold
  gain_grid       gains over the baseline, and the verdict on two of them
  front_grid      curves of a results table, and the gain of their fronts
  margin_grid     points of a results table against one of its curves
  history_notes   what the histories of runs know
  figures, plots  pictures; forests: all gains of a block
  page            a run or a sweep as one HTML file
"""
