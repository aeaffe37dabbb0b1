"""The folder of a run: config, checkpoints, metrics, and who may use it.

  folder      identity of the run, its config and its results
  checkpoint, table_checkpoint   saves and restores, with checksums
  manifest    data and versions that a resumed run is compared with
  provenance  commit and data of a run
  predictions the file of its test split's, checked as it is read
  stopping    notes SIGTERM and its like, so that the run is saved
  writer      metrics.jsonl and the console
  events      TensorBoard
"""
