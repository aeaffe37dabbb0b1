"""Processes that train one run together: started, watched, started again.

`attempts.run` starts them, by `local` on this machine or by Ray (`ray_group`),
shows the console of the first one, and starts all again when one is lost. Each
is a `process.Process`, which runs the same command with --coordinator.
"""
