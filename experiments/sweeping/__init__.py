"""Parts of the programs that train the points of a sweep.

  plans    points -> configs, grouped as they are trained
  checks   settings and columns, before the first run is trained
  runs     trains the runs, group by group
  failures of runs: their notes, and the end of the program
  seesaws  a config -> what its seesaw laboratory compares
"""
