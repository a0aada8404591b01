"""`yolo eval-tracks`: measure files of found tracks against files of true ones, and print or save the figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

from yolopose.console import log, progress
from yolopose.errors import PoseError, UsageError
from yolopose.evaluate.track_files import Tracks, read_pairs
from yolopose.evaluate.track_frames import box_frames, pose_frames
from yolopose.evaluate.tracking import Counts, count
from yolopose.files import write_text
from yolopose.geometry.keypoints import default_layout
from yolopose.tables import Rows, text_table

ALL = "all sequences"
MAIN = ("HOTA", "DetA", "AssA", "LocA", "MOTA", "MOTP", "IDF1", "IDSW", "FP", "FN", "Frag")
REST = ("DetRe", "DetPr", "AssRe", "AssPr", "IDR", "IDP", "MT", "PT", "ML")


@dataclass(frozen=True, eq=False)
class TrackScores(Rows):
    """The measures by sequence: `boxes` by the IoU of boxes, `poses` by OKS, empty when a side has no keypoints.

    `sigmas` (K,) are the tolerances of the keypoints that OKS was computed with.
    """

    boxes: Mapping[str, Counts]
    poses: Mapping[str, Counts]
    sigmas: Sequence[float] = ()

    def figures(self, by: str = "boxes") -> dict[str, float | int]:
        """The measures by name, of all sequences together, by "boxes" or "poses"."""
        return _together(getattr(self, by)).figures()

    def summary(self, normalize: bool = False, decimals: int = 5) -> list[dict[str, Any]]:
        """A row for each sequence, and for several sequences one for all; `normalize` has no effect."""
        return [
            {"by": by, "sequence": name, **{key: round(value, decimals) for key, value in counts.figures().items()}}
            for by in ("boxes", "poses")
            for name, counts in _with_all(getattr(self, by)).items()
        ]

    def text(self) -> str:
        """The tables that are printed."""
        lines = []
        for by, similarity in (("boxes", "IoU"), ("poses", "OKS")):
            rows = {name: counts.figures() for name, counts in _with_all(getattr(self, by)).items()}
            for columns in (MAIN, REST) if rows else ():
                table = ([name, *(figures[c] for c in columns)] for name, figures in rows.items())
                first = max(14, *map(len, rows))
                lines += ["", *text_table([f"{by} ({similarity})", *columns], table, first=first, width=8)]
        if self.poses:
            lines += ["", f"OKS of {len(self.sigmas)} keypoints, sigmas {', '.join(f'{s:g}' for s in self.sigmas)}"]
        return "\n".join(lines[1:])


def evaluate_tracks(
    pred: str | Path, gt: str | Path, *, every: int = 1, sigmas: Sequence[float] | None = None
) -> TrackScores:
    """Measure found tracks against true ones: HOTA, MOTA, IDF1 and their parts, equal to trackeval 1.3.0.

    Args:
        pred: a file of tracks (.csv, .json, .parquet, or .txt: MOTChallenge) or a folder of them, one per sequence.
        gt: the same of the truth, or a folder of MOTChallenge, NAME/gt/gt.txt.
        every: the truth has every n-th frame only, from the first; other frames are not counted.
        sigmas: (K,) tolerances of the keypoints in OKS; None: COCO's for 17 keypoints, else as in `val`.

    Raises:
        PoseError: a file is missing or cannot be compared; the line names it.
    """
    boxes, poses = {}, {}
    pairs = read_pairs(pred, gt)
    k = max(rows.rows.keypoints.shape[1] for pair in pairs for rows in pair)
    sigmas = sigmas or (default_layout((k, 3)).sigmas if k else ())
    if k and len(sigmas) != k:
        raise PoseError(f"{len(sigmas)} sigmas, the tracks have {k} keypoints")
    with_poses = k and all(_has_points(rows) for pair in pairs for rows in pair)
    with progress(what="sequences") as show:
        for done, (truth, found) in enumerate(pairs, 1):
            boxes[truth.name] = count(box_frames(truth, found, every))
            if with_poses:
                poses[truth.name] = count(pose_frames(truth, found, sigmas, every))
            show(done, len(pairs))
    return TrackScores(boxes, poses, sigmas if poses else ())


def evaluate_files(pred: str, gt: str, *, every: int = 1, out: str | None = None) -> TrackScores:
    """`evaluate_tracks`, printed and written to `out`, a .json or .csv file, when it is named."""
    writer = None if out is None else _writer(Path(out))
    scores = evaluate_tracks(pred, gt, every=every)
    log.info(scores.text())
    if out is not None and writer is not None:
        write_text(Path(out), writer(scores) + "\n" * (not out.lower().endswith(".csv")))
        log.info(f"saved as {out}")
    return scores


def _writer(out: Path) -> Callable[[TrackScores], str]:
    """What makes the text of the file `out`. Raises UsageError for another suffix."""
    suffix = out.suffix.lower()
    if suffix not in (".json", ".csv"):
        raise UsageError(f"out={out}: the suffix says what to write, .json or .csv")
    return TrackScores.to_json if suffix == ".json" else TrackScores.to_csv


def _has_points(tracks: Tracks) -> bool:
    """Whether there are keypoints to compare; a file without rows does not say."""
    return not len(tracks.rows) or tracks.rows.keypoints.shape[1] > 0


def _with_all(sequences: Mapping[str, Counts]) -> dict[str, Counts]:
    """The counts by sequence, and of several together."""
    return {**sequences, **({ALL: _together(sequences)} if len(sequences) > 1 else {})}


def _together(sequences: Mapping[str, Counts]) -> Counts:
    """The sum of the counts."""
    return reduce(add, sequences.values())
