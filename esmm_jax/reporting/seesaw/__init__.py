"""The page of a seesaw laboratory (`experiments.seesaw`).

  page       the page, its sentences and its numbers
  stops      the best step of each task beside the selected one
  balances   weights and gradients of the tasks along training, by method
  costs      examples/s of each arm beside static weights
  verdicts   sentences on gains, replays and the front
"""
