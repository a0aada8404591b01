"""COCO's figures against pycocotools itself and against published values."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.coco_reference import pycocotools, results_of

from yolopose.errors import PoseError
from yolopose.evaluate.coco import evaluate
from yolopose.evaluate.cocofiles import truths_of
from yolopose.geometry.keypoints import COCO_SIGMAS

CROWDPOSE = tuple(np.array([79, 79, 72, 72, 62, 62, 107, 107, 87, 87, 89, 89, 79, 79]) / 1000)


def figures(truths: dict[str, Any], results: list[dict[str, Any]], kind: str, sigmas: Any = COCO_SIGMAS) -> list[float]:
    return list(evaluate(truths_of(truths), results_of(results, truths), kind, sigmas).values())


def random_set(rng: np.random.Generator, images: int, first_id: int = 1) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Truths of all sizes, some crowds, some without keypoints; noisy, doubled, stray and equally scored detections."""
    truths: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for image in range(10, 10 + images):
        for _ in range(rng.integers(0, 6)):
            size = rng.choice([20.0, 60.0, 200.0]) * rng.uniform(0.5, 1.5, 2)
            box = np.concatenate([rng.uniform(0, 200, 2), size])
            visible = rng.integers(0, 3, (17, 1)) * (rng.random() > 0.2)
            points = box[:2] + rng.random((17, 2)) * size
            category = int(rng.integers(1, 4))
            truths.append({
                "id": first_id + len(truths), "image_id": image, "category_id": category, "bbox": box.tolist(),
                "area": float(size.prod() * rng.uniform(0.3, 0.9)), "iscrowd": int(rng.random() < 0.1),
                "keypoints": np.concatenate([points * (visible > 0), visible], 1).ravel().tolist(),
                "num_keypoints": int((visible > 0).sum()),
            })  # fmt: skip
            for _ in range(rng.choice([0, 1, 1, 2, 15])):
                noise = size.max() * rng.choice([0.01, 0.05, 0.2])
                found = points + rng.normal(0, noise, (17, 2))
                results.append({
                    "image_id": image, "category_id": category if rng.random() < 0.9 else int(rng.integers(1, 5)),
                    "bbox": np.abs(box + rng.normal(0, noise, 4)).tolist(), "score": round(float(rng.random()), 1),
                    "keypoints": np.concatenate([found, np.ones((17, 1))], 1).ravel().tolist(),
                })  # fmt: skip
    listed = [{"id": i} for i in range(10, 10 + images)]
    return {"images": listed, "annotations": truths, "categories": [{"id": i} for i in range(1, 6)]}, results


@pytest.mark.parametrize("kind", ["keypoints", "bbox"])
@pytest.mark.parametrize("seed", range(6))
def test_equals_pycocotools_on_random_sets(kind: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    truths, results = random_set(rng, images=15, first_id=seed % 2)  # id 0 included: pycocotools mistakes it
    rng.shuffle(results)  # type: ignore[arg-type]
    assert figures(truths, results, kind) == pytest.approx(pycocotools(truths, results, kind), abs=1e-9)


def test_equals_pycocotools_where_detections_have_keypoints_only() -> None:
    truths, results = random_set(np.random.default_rng(6), images=15)
    for result in results:
        del result["bbox"]
    assert figures(truths, results, "keypoints") == pytest.approx(pycocotools(truths, results, "keypoints"), abs=1e-9)


def test_equals_pycocotools_with_crowds_only() -> None:
    truths, results = random_set(np.random.default_rng(11), images=4)
    for row in truths["annotations"]:
        row["iscrowd"] = 1
    for kind in ("keypoints", "bbox"):
        got = figures(truths, results, kind)
        assert got == pytest.approx(pycocotools(truths, results, kind), abs=1e-9)
        assert set(got) == {-1.0}


def test_published_figures(shared: Path) -> None:
    folder = shared / "data" / "eval"

    def read(name: str) -> Any:
        return json.loads((folder / name).read_text())

    truths = read("oks/person_keypoints_val2014_first100_gt.json")
    results = read("oks/person_keypoints_val2014_fakekeypoints100_results.json")
    want = [
        0.3721606,
        0.6363212,
        0.3480941,
        0.3837691,
        0.3861842,
        0.5143885,
        0.7338130,
        0.5035971,
        0.5081081,
        0.5215385,
    ]
    assert figures(truths, results, "keypoints") == pytest.approx(want, abs=1e-7)

    truths, results = read("oks/faster_coco_eval/gt_dataset.json"), read("oks/faster_coco_eval/dt_dataset.json")
    want = [
        0.50488449,
        0.72277228,
        0.63366337,
        0.46633663,
        0.75049505,
        0.51818182,
        0.72727273,
        0.63636364,
        0.46666667,
        0.75,
    ]
    assert figures(truths, results, "keypoints") == pytest.approx(want, abs=1e-8)

    truths = read("oks/faster_coco_eval/example_crowdpose_val.json")
    results = read("oks/faster_coco_eval/example_crowdpose_preds.json")
    got = figures(truths, results, "keypoints", CROWDPOSE)
    assert got[:3] == pytest.approx([0.78772159, 0.98811881, 0.73143564], abs=1e-8)

    truths, results = read("boxes/instances_val2014_100.json"), read("boxes/instances_val2014_fakebbox100_results.json")
    assert figures(truths, results, "bbox")[:3] == pytest.approx([0.504581, 0.696973, 0.572982], abs=1e-6)
    assert figures(truths, results, "bbox") == pytest.approx(pycocotools(truths, results, "bbox"), abs=1e-9)


def test_missing_sigmas_are_named() -> None:
    truths, results = random_set(np.random.default_rng(2), images=3)
    with pytest.raises(PoseError, match="17 keypoints, but there are 5 sigmas"):
        figures(truths, results, "keypoints", (0.2,) * 5)


def test_no_detections() -> None:
    truths, results = random_set(np.random.default_rng(2), images=3)
    empty = results_of(results, truths)[:0]
    assert evaluate(truths_of(truths), empty, "bbox")["AP"] == 0.0
    assert evaluate(truths_of(truths), empty, "keypoints")["AR"] == 0.0
