"""The options of a tracker, and how its YAML file is read."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yolopose.errors import PoseError, UsageError, did_you_mean, one_line, shown
from yolopose.files import read_yaml
from yolopose.limits import float_of, int_of

TRACKERS = Path(__file__).parent / "trackers"
TYPES = ("pose", "bytetrack", "botsort")
ABSENT = ("ocsort", "deepocsort", "fasttrack", "tracktrack")  # documented by Ultralytics, not built here
CAMERA = ("sparseOptFlow", "none")
ABSENT_CAMERA = ("orb", "sift", "ecc")
MAX_BUFFER = 1_000_000  # frames: more than nine hours


@dataclass(frozen=True, kw_only=True)
class TrackerOptions:
    """A tracker's YAML file, with the names and defaults that Ultralytics documents.

    Scores and thresholds are from 0 to 1. A cost is 1 - similarity, so that a larger `match_thresh` accepts more.
    """

    tracker_type: str = "pose"
    """`pose`, `bytetrack` or `botsort`"""
    track_high_thresh: float = 0.25
    """lowest score of the first stage"""
    track_low_thresh: float = 0.1
    """lowest score of the second stage"""
    new_track_thresh: float = 0.25
    """lowest score that starts a track"""
    track_buffer: int = 30
    """how long a lost track is remembered: frames at 30 frames per second"""
    match_thresh: float = 0.8
    """largest cost of a pair in the first stage"""
    fuse_score: bool = True
    """multiply the similarity by the detection's score"""
    gmc_method: str = "none"
    """camera motion: `sparseOptFlow` or `none`"""
    proximity_thresh: float = 0.5
    """of appearance features: accepted, without effect"""
    appearance_thresh: float = 0.8
    """of appearance features: accepted, without effect"""
    with_reid: bool = False
    """appearance features: only False"""
    model: str = "auto"
    """of appearance features: accepted, without effect"""


def read_tracker(tracker: str | Path) -> TrackerOptions:
    """The options in a tracker file: `pose`, `bytetrack`, `botsort` (with or without .yaml), or a user's own file.

    A file that exists goes before the packaged one of the same name. An entry that a file leaves out has the value of
    the packaged file of its type.

    Raises:
        UsageError: no such tracker or file; the line names what there is.
        PoseError: an entry that is unknown or has a wrong value; the line names file and entry.
    """
    file = _find(tracker)
    values = read_yaml(file)
    try:
        kind = _type(values.get("tracker_type"))
        packaged = TRACKERS / f"{kind}.yaml"
        base = {} if file == packaged else read_yaml(packaged)
        return TrackerOptions(**{key: _value(key, value) for key, value in {**base, **values}.items()})
    except PoseError as e:
        raise type(e)(f"{one_line(file)}: {e}") from None


def _find(tracker: str | Path) -> Path:
    """The file of a tracker: one that exists, or the packaged one of that name."""
    file = Path(tracker)
    if os.path.isfile(file):
        return file.absolute()
    name = file.name.removesuffix(".yaml").removesuffix(".yml")
    if str(file) == file.name and name in TYPES:
        return TRACKERS / f"{name}.yaml"
    if name in ABSENT:
        raise UsageError(f"tracker={one_line(file)}: {_absent(name)}")
    hint = did_you_mean(name, TYPES) or f"; there are {', '.join(TYPES)} and files of your own"
    raise UsageError(f"tracker={one_line(file)}: no such tracker or file{hint}")


def _type(value: Any) -> str:
    """A file's `tracker_type`, checked."""
    if isinstance(value, str) and value in TYPES:
        return value
    if value is None:
        raise PoseError(f"no tracker_type entry; add for example 'tracker_type: {TYPES[0]}'")
    if value in ABSENT:
        raise PoseError(f"tracker_type: {_absent(value)}")
    raise PoseError(
        f"tracker_type must be one of {', '.join(TYPES)}, got {shown(value)}{did_you_mean(str(value), TYPES)}"
    )


def _absent(name: str) -> str:
    return f"{name} is not one of our trackers; use pose (our default), bytetrack or botsort"


def _value(key: str, value: Any) -> Any:
    """The value of an entry in its type. Raises PoseError if the name is unknown or the value is wrong."""
    types = {field.name: type(field.default) for field in dataclasses.fields(TrackerOptions)}
    if key not in types:
        known = f"; the entries are {', '.join(types)}"
        raise PoseError(f"unknown entry {shown(key)}{did_you_mean(key, types) or known}")
    if key == "gmc_method":
        return _camera(value)
    if key == "track_buffer":
        return int_of(value, key, 0, MAX_BUFFER)
    if types[key] is float:
        return float_of(value, key, 0, 1)
    if types[key] is bool and not isinstance(value, bool):
        raise PoseError(f"{key} must be True or False, got {shown(value)}")
    if key == "with_reid" and value:
        raise PoseError(
            "with_reid: there are no appearance features (ReID); set it to False; tracker=pose finds lost people again "
            "by pose and motion"
        )
    if types[key] is str and not isinstance(value, str):
        raise PoseError(f"{key} must be text, got {shown(value)}")
    return value


def _camera(value: Any) -> str:
    """The way to find the camera's motion: a name in CAMERA. YAML reads `None` as text, `null` as no value."""
    names = {name.lower(): name for name in CAMERA}
    word = "none" if value is None else str(value).lower()
    if word in names:
        return names[word]
    if word in ABSENT_CAMERA:
        raise PoseError(
            f"gmc_method: {word} is not built here; use sparseOptFlow, or none for a camera that stands still"
        )
    raise PoseError(f"gmc_method must be one of {', '.join(CAMERA)}, got {shown(value)}{did_you_mean(word, CAMERA)}")
