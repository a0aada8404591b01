"""Precision and average precision against slow, literal loops."""

from itertools import pairwise

import numpy as np
import pytest

from yolopose.evaluate.metrics import KEYS, KindMetrics, Metrics
from yolopose.evaluate.precision import (
    CONFIDENCES,
    THRESHOLDS,
    Matches,
    Truth,
    compute_scores,
    match_image,
    match_overlaps,
    smooth,
)
from yolopose.geometry.boxes import iou_matrix
from yolopose.geometry.keypoints import fixed_sigmas

K = 5
SIGMAS = fixed_sigmas((K, 3))


Image = tuple[np.ndarray, np.ndarray, Truth]


def random_image(rng: np.random.Generator, classes: int, unlabelled: float = 0.2) -> Image:
    """Truths with jittered detections near them, some detections elsewhere; most confident first."""
    g = rng.integers(0, 6)
    low = rng.uniform(0, 60, (g, 2))
    boxes = np.concatenate([low, low + rng.uniform(10, 60, (g, 2))], 1)
    points = low[:, None] + rng.uniform(0, 1, (g, K, 2)) * (boxes[:, None, 2:] - low[:, None])
    visible = rng.integers(0, 3, (g, K, 1)) * (rng.random((g, 1, 1)) > unlabelled)
    truth = Truth(rng.integers(0, classes, g), boxes, np.concatenate([points, visible], 2))
    near = rng.integers(0, g, rng.integers(0, 12)) if g else np.zeros(0, int)
    scale = rng.choice([0.5, 2.0, 6.0], (len(near), 1))
    found = boxes[near] + rng.normal(0, 1, (len(near), 4)) * scale
    keypoints = points[near] + rng.normal(0, 1, (len(near), K, 2)) * scale[:, None]
    stray = rng.integers(0, 4)
    found = np.concatenate([found, np.sort(rng.uniform(0, 100, (stray, 2, 2)), 1).reshape(-1, 4)])
    keypoints = np.concatenate([keypoints, rng.uniform(0, 100, (stray, K, 2))])
    conf = np.sort(rng.random(len(found)))[::-1]
    cls = np.where(rng.random(len(found)) < 0.8, np.concatenate([truth.classes[near], np.zeros(stray)]), 0)
    return np.concatenate([found, conf[:, None], cls[:, None]], 1), keypoints, truth


def slow_oks(truth: np.ndarray, points: np.ndarray, area: float) -> float:
    values = []
    for (x, y, v), (px, py), sigma in zip(truth, points[:, :2], SIGMAS, strict=True):
        if v:
            values.append(np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * (2 * sigma) ** 2 * area)))
    return float(np.mean(values)) if values else 0.0


def slow_hits(overlap: np.ndarray, threshold: float) -> list[int]:
    """Every detection chooses its best truth, every truth takes its first chooser."""
    taken: dict[int, int] = {}
    for d in range(overlap.shape[1]):
        if overlap.shape[0]:
            best = int(overlap[:, d].argmax())
            if overlap[best, d] >= threshold and best not in taken:
                taken[best] = d
    return [next((g for g, d in taken.items() if d == n), -1) for n in range(overlap.shape[1])]


def slow_ap(right: list[bool], total: int) -> float:
    """Area under the envelope at 101 recalls by the trapezoid rule, closing at (1, 0)."""
    points, seen = [(0.0, 1.0)], 0
    for n, hit in enumerate(right, start=1):
        seen += hit
        points.append((seen / total, seen / n))
    points.append((1.0, 0.0))
    best = [(r, max(p for _, p in points[i:])) for i, (r, _) in enumerate(points)]
    grid = np.linspace(0, 1, 101)
    read = np.interp(grid, [r for r, _ in best], [p for _, p in best])
    return float(sum((a + b) / 2 * 0.01 for a, b in pairwise(read)))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("ignore", [False, True])
def test_equals_brute_force(seed: int, ignore: bool) -> None:
    rng = np.random.default_rng(seed)
    images = [random_image(rng, classes=2) for _ in range(12)]
    matches = [match_image(*image, SIGMAS, ignore_unlabelled=ignore) for image in images]
    for kind in ("box", "pose"):
        rows: list[tuple[float, int, list[bool], list[bool]]] = []
        total = {0: 0, 1: 0}
        for boxes, points, truth in images:
            same = truth.classes[:, None] == boxes[None, :, 5]
            iou = iou_matrix(truth.boxes, boxes[:, :4]) * same
            sizes = truth.boxes[:, 2:] - truth.boxes[:, :2]
            oks = [
                [slow_oks(t, p, 0.53 * s[0] * s[1]) for p in points]
                for t, s in zip(truth.keypoints, sizes, strict=True)
            ]
            overlap = iou if kind == "box" else np.array(oks).reshape(iou.shape) * same
            hits = np.array([slow_hits(overlap, t) for t in THRESHOLDS]).T.reshape(len(boxes), 10)
            loose = slow_hits(iou, 0.5)
            labelled = truth.keypoints[..., 2].any(1)
            for n in range(len(boxes)):
                beside = ignore and kind == "pose" and loose[n] >= 0 and not labelled[loose[n]]
                rows.append((boxes[n, 4], int(boxes[n, 5]), list(hits[n] >= 0), [beside and h < 0 for h in hits[n]]))
            for c in truth.classes[labelled] if ignore and kind == "pose" else truth.classes:
                total[int(c)] += 1
        rows.sort(key=lambda row: -row[0])
        got = compute_scores(matches, kind)
        for c, ap in zip(got.classes, got.ap, strict=True):
            mine = [(hit, skip) for _, cls, hit, skip in rows if cls == c]
            want = [slow_ap([h[t] for h, s in mine if not s[t]], total[int(c)]) for t in range(10)]
            assert ap == pytest.approx(want, abs=1e-12)
        assert list(got.truths) == [total[int(c)] for c in got.classes]


def test_perfect_detections_score_0995_and_their_curves_say_so() -> None:
    truth = random_image(np.random.default_rng(3), 1, unlabelled=0)[2]
    assert len(truth.classes)
    conf = np.linspace(0.9, 0.5, len(truth.classes))
    boxes = np.concatenate([truth.boxes, conf[:, None], truth.classes[:, None]], 1)
    truth.keypoints[..., 2] = 2
    matches = [match_image(boxes, truth.keypoints[..., :2], truth, SIGMAS, ignore_unlabelled=False)]
    for kind in ("box", "pose"):
        got = KindMetrics(compute_scores(matches, kind), class_count=1)
        assert got.map == pytest.approx(0.995)
        assert (got.mp, got.mr) == (1, 1)
        assert got.best_conf <= 0.5


def test_p_and_r_are_read_at_the_best_smoothed_mean_f1() -> None:
    """Two classes whose own best confidences differ are read at one confidence."""
    rng = np.random.default_rng(5)
    matches = [match_image(*random_image(rng, 2), SIGMAS, ignore_unlabelled=False) for _ in range(20)]
    got = compute_scores(matches, "box")
    f1 = 2 * got.precision * got.recall / (got.precision + got.recall + 1e-16)
    mean = f1.mean(0)
    window = [np.mean([mean[min(max(j, 0), 999)] for j in range(i - 50, i + 51)]) for i in range(1000)]
    assert smooth(mean) == pytest.approx(window)
    assert got.best == int(np.argmax(window))
    assert got.f1 == pytest.approx(f1)


def test_curves_step_at_the_confidences() -> None:
    hits = np.array([[True] * 10, [False] * 10, [True] * 10])
    conf, zeros, never = np.array([0.8, 0.6, 0.4]), np.zeros(3), np.zeros((3, 10), bool)
    matches = Matches(conf, zeros, hits, hits, never, zeros, np.zeros(4), np.ones(4, bool))
    got = compute_scores([matches], "box")
    at = {c: int(np.abs(CONFIDENCES - c).argmin()) for c in (0.3, 0.4, 0.6, 0.8, 0.9)}
    recalls = got.recall[0, [at[0.9], at[0.8], at[0.6], at[0.4], at[0.3]]]
    assert recalls == pytest.approx([0, 0.25, 0.25, 0.5, 0.5], abs=0.01)
    assert got.precision[0, [at[0.9], at[0.8], at[0.6], at[0.3]]] == pytest.approx([1, 1, 0.5, 2 / 3], abs=0.01)


def test_each_truth_takes_its_most_confident_chooser_and_there_is_no_second_choice() -> None:
    overlap = np.array([[0.6, 0.9, 0.8], [0.0, 0.0, 0.7]])  # the third detection also reaches the second truth
    assert match_overlaps(overlap)[:, 0].tolist() == [0, -1, -1]
    assert match_overlaps(overlap)[:, 5].tolist() == [-1, 0, -1]


def test_an_unlabelled_truth_is_ignored_for_pose_or_a_miss() -> None:
    boxes = np.array([[0, 0, 10, 10, 0.9, 0], [20, 0, 30, 10, 0.8, 0], [20, 0, 30, 10.5, 0.7, 0]], float)
    points = boxes[:, None, :2] + np.linspace(1, 9, K)[None, :, None]
    keypoints = np.concatenate([points[:2], np.array([2, 0])[:, None, None].repeat(K, 1)], 2)
    truth = Truth(np.zeros(2, int), boxes[:2, :4], keypoints)
    ignored = match_image(boxes, points, truth, SIGMAS, ignore_unlabelled=True)
    assert ignored.pose_ignored[:, 0].tolist() == [False, True, False]  # the duplicate stays a false positive
    assert compute_scores([ignored], "pose").truths.tolist() == [1]
    assert compute_scores([ignored], "box").truths.tolist() == [2]
    missed = match_image(boxes, points, truth, SIGMAS, ignore_unlabelled=False)
    assert not missed.pose_ignored.any()
    assert compute_scores([missed], "pose").truths.tolist() == [2]
    assert compute_scores([ignored], "pose").ap.mean() > compute_scores([missed], "pose").ap.mean()


def test_without_detections_or_labels_all_figures_are_zero() -> None:
    nothing = Truth(np.zeros(0, int), np.zeros((0, 4)), np.zeros((0, K, 3)))
    boxes, points, truth = random_image(np.random.default_rng(3), 1)
    assert len(truth.classes)
    empty = np.zeros((0, 6)), np.zeros((0, K, 3))
    for images in ([], [(*empty, nothing)], [(boxes, points, nothing)]):
        got = KindMetrics(compute_scores([match_image(*i, SIGMAS, ignore_unlabelled=True) for i in images], "pose"), 3)
        assert got.mean_results() == [0, 0, 0, 0]
        assert got.maps.tolist() == [0, 0, 0]
    got = KindMetrics(compute_scores([match_image(*empty, truth, SIGMAS, ignore_unlabelled=False)], "box"), 1)
    assert got.mean_results() == [0, 0, 0, 0]


def test_metrics_carry_the_names_scripts_use() -> None:
    rng = np.random.default_rng(8)
    matches = [match_image(*random_image(rng, 2), SIGMAS, ignore_unlabelled=False) for _ in range(20)]
    kinds = [KindMetrics(compute_scores(matches, kind), class_count=3) for kind in ("box", "pose")]
    names = {0: "a", 1: "b", 2: "c"}
    metrics = Metrics(*kinds, names=names, images=20, class_images=np.zeros(3), class_instances=np.zeros(3))
    assert list(metrics.results_dict) == [*KEYS, "fitness"]
    assert metrics.results_dict["metrics/mAP50-95(P)"] == metrics.pose.map
    assert metrics.fitness == pytest.approx(sum(0.1 * k.map50 + 0.9 * k.map for k in kinds))
    assert metrics.box.map75 == pytest.approx(metrics.box.all_ap[:, 5].mean())
    assert metrics.box.maps[2] == metrics.box.map
    assert metrics.box.maps[:2] == pytest.approx(metrics.box.ap)
    assert metrics.class_result(1) == metrics.box.class_result(1) + metrics.pose.class_result(1)
    assert np.mean([metrics.class_result(i) for i in range(2)], 0) == pytest.approx(metrics.mean_results())


def test_thresholds_are_the_ten_of_coco() -> None:
    assert np.round(THRESHOLDS, 12).tolist() == [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95]
