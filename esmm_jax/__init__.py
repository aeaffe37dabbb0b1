"""Click and conversion models in JAX.

  types, schema        names shared by all; what the columns of a data set mean
  data                 raw files -> columns on disk -> batches (numpy only)
  models               features -> one log-odds for each task
  estimators           on which sample space the log-odds are trained
  balancing, optim     how losses are combined; how parameters move
  train_step, train    one step of all replicas; a whole run
  predict, evaluate    scores of a split; their metrics, named by sample space
  metrics              exact ranking and probability metrics
"""
