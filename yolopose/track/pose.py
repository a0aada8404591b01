"""Our own tracker: pairs by the keypoints and the boxes; a lost person is found again by pose and motion.

The stages are ByteTrack's (Zhang et al., ECCV 2022) with another similarity: object keypoint similarity (OKS, COCO),
each point weighted by its scores, fused with the overlap of the boxes. The more sure points two poses share, the more
the points count; without sure points only the boxes do. Two things are new. A detection with the pose of a better one
is a double and left out. A track that is confirmed near the place where a lost one was last seen, or would be by now,
in a similar pose and size, is that lost one.

The constants were chosen on the tuning half of `benchmarks/tracking.py`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolopose.geometry.boxes import iou_matrix
from yolopose.geometry.keypoints import BODY_AREA, KeypointLayout
from yolopose.track.association import Floats, Ints, Pairs, assign, separate_classes
from yolopose.track.bytetrack import pairs_in_stages
from yolopose.track.camera import CameraMotion
from yolopose.track.kalman import BoxFilter
from yolopose.track.options import TrackerOptions
from yolopose.track.state import Array, Detections

POINTS = 0.7  # share of the keypoints in the similarity, if enough are sure
SURE = 4.0  # weights of shared points, summed, that are enough; half of all points in small layouts
TOLERANCE = 2.0  # factor of the sigmas: a predicted pose is less exact than a label
SIGMA = 0.107  # largest sigma used (COCO's largest): generous ones do not tell neighbours apart
DOUBLE = 0.8  # OKS from which a detection is a double of a better one
REACH = 0.6  # how far away a lost person is searched, in heights of its box,
SPEED = 0.03  # and how much farther with every frame since
RATIO = 0.6  # of the heights of a lost person's box and the new one's: not below
SHAPE_TOLERANCE = 3.0  # factor of the sigmas where the shapes of poses are compared
ALIKE = 0.3  # least similarity of these shapes
NEVER = 9.0  # a cost that is no pair


class PoseTracking:
    """Similarity and stages of the tracker `pose`; `tracks` is the array of `state.no_tracks`."""

    motion = BoxFilter()
    uses_time = True

    def __init__(self, options: TrackerOptions, layout: KeypointLayout) -> None:
        self.options = options
        self._variance = (2 * np.minimum(layout.sigmas, SIGMA)) ** 2
        self._sure = min(SURE, layout.shape[0] / 2)
        self._camera = CameraMotion() if options.gmc_method == "sparseOptFlow" else None

    def predict(self, tracks: Array, step: float, found: Detections, image: Array | None) -> None:
        """Move the tracks' boxes and points on by `step` frames and by the camera's motion, in place."""
        state = tracks["state"]
        self.motion.stop_growing(state, tracks["misses"] > 0)
        self.motion.predict(state, step)
        tracks["points"][..., :2] += step * state[:, None, :2, 1]
        if self._camera is None or image is None:
            return
        matrix = self._camera.estimate(image, found.boxes[found.scores >= self.options.track_high_thresh])
        if matrix is not None:
            self.motion.transform(state, matrix)
            for places in (tracks["points"][..., :2], tracks["box"].reshape(-1, 2, 2)):
                places[:] = places @ matrix[:, :2].T + matrix[:, 2]

    def match(self, tracks: Array, found: Detections) -> Pairs:
        """The pairs, in ByteTrack's stages; doubles are in none and start no track."""
        similarity = self.similarity(tracks, found)
        return pairs_in_stages(tracks, found, similarity, self.options, self.doubles(found))

    def similarity(self, tracks: Array, found: Detections) -> NDArray[np.float64]:
        """(T, N) of the predicted tracks and the detections: (1 - s) IoU + s OKS, s rising with the sure points."""
        boxes = self.motion.boxes(tracks["state"])
        overlap = iou_matrix(boxes, found.boxes)
        t, d = np.nonzero(overlap > 0)  # OKS of those only: few pairs of a crowd
        area = np.maximum(_area(boxes)[t], _area(found.boxes)[d])  # of two, since a hidden body's box is cut
        oks, total = self._oks(tracks["points"][t], found.points[d], area, TOLERANCE)
        share = POINTS * np.minimum(total / self._sure, 1)
        similarity = overlap.copy()
        similarity[t, d] += share * (oks - overlap[t, d])
        return separate_classes(similarity, overlap, tracks["class"], found.classes)

    def doubles(self, found: Detections) -> Ints:
        """Detections with nearly the sure points of another one that has a higher score and the same class."""
        a, b = np.nonzero(_touching(found.boxes, found.boxes))
        a, b = a[a < b], b[a < b]
        area = _area(found.boxes)
        area = np.minimum(area[a], area[b])
        oks, total = self._oks(found.points[a], found.points[b], area, 1.0)
        double = (oks > DOUBLE) & (total >= self._sure) & (found.classes[a] == found.classes[b])
        return np.unique(np.where(found.scores[a] >= found.scores[b], b, a)[double])

    def returning(self, tracks: Array, new: Ints) -> tuple[Ints, Ints]:
        """Rows of lost tracks, and the rows among `new`, just confirmed, that go on with them.

        The nearest pairs in place and shape of pose, among those within reach and of similar size, pose and class.
        """
        lost = np.flatnonzero((tracks["id"] > 0) & (tracks["misses"] > 0))
        if not len(lost) or not len(new):
            return lost[:0], new[:0]
        then, now = tracks[lost], tracks[new]
        tall = then["box"][:, 3] - then["box"][:, 1], now["box"][:, 3] - now["box"][:, 1]
        height = np.maximum(tall[0][:, None], tall[1])
        gap = now["seen"] - then["seen"][:, None]
        far = _from_way(_centre(then["box"]), then["state"][:, :2, 0], _centre(now["box"]))
        far /= height * (REACH + SPEED * gap)
        alike = self._alike(then["points"], now["points"], height)
        fits = (far < 1) & (alike > ALIKE) & (np.minimum(tall[0][:, None], tall[1]) > RATIO * height)
        fits &= then["class"][:, None] == now["class"]
        rows, columns = assign(np.where(fits, far + 1 - alike, NEVER), NEVER)
        return lost[rows], new[columns]

    def duplicates(self, tracks: Array) -> Ints:
        """None: of two people at one place one is often hidden, and comes out again; doubles are in no track."""
        return np.empty(0, np.intp)

    def _alike(self, a: Array, b: Array, height: Floats) -> Floats:
        """(L, K, 3), (M, K, 3) poses, (L, M) heights → (L, M) OKS of the poses with their centres put together.

        Poses that share no sure points are neither alike nor different: ALIKE and a little.
        """
        weight = a[:, None, :, 2] * b[None, :, :, 2]  # (L, M, K)
        total = np.maximum(weight.sum(-1), 1e-9)
        shift = np.einsum("lmk,lmkc->lmc", weight, a[:, None, :, :2] - b[None, :, :, :2]) / total[..., None]
        moved = np.broadcast_to(b, (len(a), *b.shape)).copy()
        moved[..., :2] += shift[:, :, None]
        area = 0.4 * height**2  # a standing body's box is 0.4 times as wide as tall
        oks, _ = self._oks(np.broadcast_to(a[:, None], moved.shape), moved, area, SHAPE_TOLERANCE)
        return np.where(total < self._sure / 2, ALIKE + 0.01, oks)

    def _oks(self, a: Array, b: Array, area: Floats, tolerance: float) -> tuple[Floats, Floats]:
        """(..., K, 3) pairs of poses, (...) box areas → (...) OKS weighted by both scores, and the sum of weights."""
        weight = a[..., 2] * b[..., 2]
        x, y = a[..., 0] - b[..., 0], a[..., 1] - b[..., 1]
        e = (x * x + y * y) / (-2 * tolerance**2 * BODY_AREA * self._variance)
        e /= area[..., None]
        total = weight.sum(-1)
        return np.einsum("...k,...k->...", weight, np.exp(e, out=e)) / np.maximum(total, 1e-9), total


def _touching(a: Floats, b: Floats) -> NDArray[np.bool_]:
    """(M, 4), (N, 4) xyxy → (M, N) whether the boxes touch."""
    x = (a[:, None, 0] < b[:, 2]) & (a[:, None, 2] > b[:, 0])
    return np.asarray(x & (a[:, None, 1] < b[:, 3]) & (a[:, None, 3] > b[:, 1]))


def _area(boxes: Floats) -> NDArray[Any]:
    """(N, 4) xyxy → (N,) areas."""
    return np.asarray((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))


def _centre(boxes: Floats) -> NDArray[Any]:
    """(N, 4) xyxy → (N, 2) centres."""
    return np.asarray((boxes[:, :2] + boxes[:, 2:]) / 2)


def _from_way(start: Floats, end: Floats, places: Floats) -> Floats:
    """(L, 2), (L, 2) ends of straight ways, (M, 2) places → (L, M) distance of each place from each way."""
    way = end - start
    to = places - start[:, None]  # (L, M, 2)
    along = (to * way[:, None]).sum(-1) / np.maximum((way**2).sum(-1), 1e-9)[:, None]
    return np.asarray(np.linalg.norm(to - np.clip(along, 0, 1)[..., None] * way[:, None], axis=-1))
