"""True and found tracks of a sequence → its frames with similarities: IoU of boxes, or OKS of keypoints.

Rows that do not count follow MOTChallenge, as trackeval 1.3.0 does for MOT16 and MOT17: in a truth of MOTChallenge text
rows with confidence 0 and of another class than 1, pedestrian. What matches a row of a class that looks like a person
is taken out of the predictions, so that it is no error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolopose.errors import PoseError
from yolopose.evaluate.assignment import assign
from yolopose.evaluate.track_files import Tracks
from yolopose.evaluate.tracking import EPS, MATCH, Frame
from yolopose.geometry.boxes import area, iou_matrix
from yolopose.geometry.keypoints import BODY_AREA, oks
from yolopose.track.table import TrackTable

Array = NDArray[Any]
PERSON = (0, 1)  # classes of MOTChallenge text: none given, pedestrian
PERSON_LIKE = (2, 7, 8, 12)  # person on a vehicle, static person, distractor, reflection
Similarity = Callable[[TrackTable, TrackTable], Array]  # of G and N rows of one frame: (G, N)


def box_frames(truth: Tracks, found: Tracks, every: int = 1) -> list[Frame]:
    """The frames with the IoU of boxes; with `every` n only the first frame and every n-th after it."""
    counts, silent = _counting(truth)
    return _frames(truth, found, _ious, counts, silent, every)


def pose_frames(truth: Tracks, found: Tracks, sigmas: Sequence[float], every: int = 1) -> list[Frame]:
    """The same with the OKS of keypoints; the area of an instance is 0.53 of its true box, as in `val`.

    A true row without any labelled keypoint has no OKS: it does not count, and neither does what matches its box.
    """
    counts, silent = _counting(truth)
    labelled = np.asarray(_points(truth.rows)[..., 2].any(1))

    def similarity(a: TrackTable, b: TrackTable) -> Array:
        if not len(a) or not len(b):
            return np.zeros((len(a), len(b)))
        points = _points(a)
        known = np.asarray(points[..., 2].any(1))[:, None]
        return np.where(known, oks(points, b.keypoints, BODY_AREA * area(_boxes(a)), sigmas), _ious(a, b))

    return _frames(truth, found, similarity, counts & labelled, silent | (counts & ~labelled), every)


def _counting(truth: Tracks) -> tuple[Array, Array]:
    """(R,) whether a true row is to be found, and (R,) whether what matches it is taken out."""
    rows = truth.rows
    if not truth.is_mot:
        return np.ones(len(rows), bool), np.zeros(len(rows), bool)
    return (rows.score != 0) & np.isin(rows.cls, PERSON), np.isin(rows.cls, PERSON_LIKE)


def _frames(
    truth: Tracks, found: Tracks, similarity: Similarity, counts: Array, silent: Array, every: int
) -> list[Frame]:
    """The frames that have rows, in order; the ids are replaced by numbers from 0."""
    parts = []
    for g, n in _together(truth, found, every):
        similar = similarity(truth.rows[g], found.rows[n])
        if silent[g].any():
            keep = ~_hidden(similar, silent[g])
            n, similar = n[keep], similar[:, keep]
        kept = counts[g]
        parts.append(Frame(truth.rows.id[g[kept]], found.rows.id[n], similar[kept]))
    true_ids, found_ids = (
        np.unique(np.concatenate([np.zeros(0, int), *(part[side] for part in parts)])) for side in (0, 1)
    )
    return [
        Frame(np.searchsorted(true_ids, part.truth), np.searchsorted(found_ids, part.found), part.similarity)
        for part in parts
    ]


def _together(truth: Tracks, found: Tracks, every: int) -> Iterator[tuple[Array, Array]]:
    """The true and the found rows of every frame that counts, in order of time, each in the order of its file."""
    off = truth.rows.frame % every != 0
    if off.any():
        frame = truth.frame_in_file(int(truth.rows.frame[off.argmax()]))
        first = truth.frame_in_file(0)
        raise PoseError(f"{truth.file}: frame {frame} has truth, but every={every} counts {first}, {first + every}, …")
    orders = [np.argsort(tracks.rows.frame, kind="stable") for tracks in (truth, found)]
    sorted_frames = [tracks.rows.frame[order] for tracks, order in zip((truth, found), orders, strict=True)]
    frames = np.unique(np.concatenate(sorted_frames))
    for frame in frames[frames % every == 0]:
        g, n = (
            order[np.searchsorted(values, frame) : np.searchsorted(values, frame, "right")]
            for order, values in zip(orders, sorted_frames, strict=True)
        )
        yield g, n


def _hidden(similarity: Array, silent: Array) -> Array:
    """(G, N), (G,) → (N,) whether a found row matches a true row of which matches are taken out."""
    rows, columns = assign(np.where(similarity < MATCH - EPS, 0.0, similarity))
    hidden = np.zeros(similarity.shape[1], bool)
    hidden[columns[silent[rows]]] = True
    return hidden


def _boxes(rows: TrackTable) -> Array:
    return rows.box.astype(np.float64)


def _ious(a: TrackTable, b: TrackTable) -> Array:
    return iou_matrix(_boxes(a), _boxes(b))


def _points(rows: TrackTable) -> Array:
    """(R, K, 3) keypoints; those without visibility are all labelled."""
    points = rows.keypoints
    if points.shape[2] == 3:
        return points
    return np.concatenate([points, np.ones((*points.shape[:2], 1), points.dtype)], 2)
