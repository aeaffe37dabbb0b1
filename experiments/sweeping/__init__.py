"""Parts of the programs that train the points of a sweep.

  plans    points -> configs, grouped as they are trained
  checks   settings and columns, before the first run is trained
  runs     trains the runs, group by group
  several  the same in several processes, of one or more machines
  child    the program of each of them
  together runs that are trained together
  failures of runs: their notes, and the end of the program
  seesaws  a config -> what its seesaw laboratory compares
"""
