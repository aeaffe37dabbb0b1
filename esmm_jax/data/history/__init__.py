"""Point-in-time history of any log: what was known of a key before each row.

A row at time t sees the labels of rows at t - delay or earlier and nothing
else, as a system that hears of a click after `delay`. In come the columns of a
log (times, keys, labels); out come sums, last rows and sessions for each row,
their encodings, and the state at the end of the log that serving looks up.
Training and serving read through the same functions, so their bits agree.

  spans      10m, 1h, 1d
  specs      counters, sessions, lists
  language   the text of `dataset.history` -> specs
  clock      a column of times -> nanoseconds and days of a zone
  hashes     texts of keys -> 64 bits
  events     the rows of each key, sorted: build, merge, trim
  look_up    sums, last rows and sessions of keys at times
  priors     rates of the whole log before a time
  encode     sums -> log-odds, log counts
  plan       specs -> states, and the times that they ask for
  log        the columns of a log; reading: those of raw rows
  blocks     the rows that GAUC compares
  parts      the rows of some keys, in slabs of time
  compute    a log -> the columns of a spec, by part
  inputs     specs -> the inputs that they make
  fitted     the columns -> fields, fitted on training rows
"""
