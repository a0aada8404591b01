"""Checkpoints: yolopose's own `.pt` and those of Ultralytics 8.0 to 8.3, read as data and never executed.

`store` has the functions for callers. It reads a file by `archive` (the zip and its tensors), `unpickle` (the opcodes),
`records` (the objects that a pickle may contain) and, for files of Ultralytics, `ultralytics` (the network in it). The
checkpoint of a bundled model is in its ONNX file, read by `in_onnx`.
"""

from yolopose.checkpoint.store import (
    FORMAT,
    VERSION,
    Checkpoint,
    build_network,
    carried_checkpoint,
    load_checkpoint,
    load_state,
    save_checkpoint,
)

__all__ = [
    "FORMAT",
    "VERSION",
    "Checkpoint",
    "build_network",
    "carried_checkpoint",
    "load_checkpoint",
    "load_state",
    "save_checkpoint",
]
