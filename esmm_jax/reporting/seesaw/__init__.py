"""The page of a seesaw laboratory (`experiments.seesaw`).

  page       the page, and its sentences
  arms       the runs, with what they wrote while they trained
  verdicts   sentences on gains, replays and the front
  balances   weights and gradients of the tasks along training, by method
  by_step    AUC by training step
  stops      the best step of each task beside the selected one
  costs      examples/s of each arm beside the config
  numbers    the same as plain data
"""
