"""The page of a run or of a sweep: one HTML file without other files.

  parts        the parts of a page, and their HTML
  run_page     the page of a run
  sweep_page   the page of a sweep
  mean_page    the page of several runs whose outputs are averaged
  sections     sections of a run: metrics, calibration, gates, provenance
  balance      the section on weights and gradients of the tasks
  curves       sections that are drawn from predictions: selection bias, curves
  meanings     the meaning of each space and metric, in one line
  scores       predictions -> calibration curves, CVR by decile of pCTR
  bins         sums over bins of a probability, in one pass
"""
