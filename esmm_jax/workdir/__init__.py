"""The folder of a run: config, checkpoints, metrics, and who may use it.

  folder      the config of the run, and its results
  identity    what a run is, and the stamp of what is made with it
  manifest    the hashes of what a run began with, and its data
  verify      refuses parts of another run
  ended       results are those that the run wrote
  chosen      the run of a checkpoint, and the hash of its parameters
  checkpoint, table_checkpoint   saves and restores, with checksums
  disk_errors   tells what the operating system refused
  provenance  commit and data of a run
  predictions the file of its test split's, checked as it is read
  lock        one process at a time
  stopping    notes SIGTERM, so that the run is saved
  writer      metrics.jsonl, TensorBoard, console
"""
