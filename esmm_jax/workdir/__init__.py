"""The folder of a run: config, checkpoints, metrics, and who may use it.

  folder      whether the folder is this config's, and its results
  checkpoint  saving and restoring, with checksums of what was saved;
              disk_errors: what the operating system refused
  manifest    data and versions that a resumed run is compared with
  provenance  commit and data of a run
  lock        one process at a time
  stopping    notes SIGTERM
  writer      metrics.jsonl, TensorBoard, console
"""
