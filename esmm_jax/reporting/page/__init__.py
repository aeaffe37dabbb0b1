"""A page of a run or of a sweep: one HTML file that stands by itself.

  parts        what a page is made of, and how it becomes HTML
  run_page     the page of a run
  sweep_page   the page of a sweep
  sections     sections of a run: metrics, calibration, gates, what made it
  meanings     what each space and metric is, in one line
  calibration  the maps of calibration.json
  scores       predictions -> calibration curves, CVR by decile of pCTR
  bins         sums over bins of a probability, in one pass
  predicted    predictions of a finished run, where it did not keep them
"""
