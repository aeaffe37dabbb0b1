"""The folder of a run, copied to an object store at each checkpoint.

A machine may be lost with its disk. Then the same command with an empty
--workdir takes the run from its mirror and resumes at the last checkpoint that
got there. The list of files (`storage.snapshots`) is written last, so a mirror
is always one whole state of the run.
"""
