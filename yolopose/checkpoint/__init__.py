"""Checkpoints: yolopose's own `.pt` and those of Ultralytics 8.0 to 8.3, read as data and never executed.

`store` is the door; on the way to it a file goes through `archive` (the zip and its tensors), `unpickle` (the opcodes),
`inert` (what the names in it may become) and, if it is not ours, `foreign` (the network in it).
"""

from yolopose.checkpoint.store import FORMAT, VERSION, Checkpoint, build, load, load_state, save

__all__ = ["FORMAT", "VERSION", "Checkpoint", "build", "load", "load_state", "save"]
