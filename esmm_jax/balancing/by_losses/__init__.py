"""Methods that read the losses of the tasks, or nothing of a step.

One file each, and `per_task`, what several of them need.
"""
