"""WIDER FACE's average precision: the published ground truth and two prediction sets, a loop, mistakes."""

import tarfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("scipy")
from helpers.wider import Faces, ground_truth, predictions

from yolopose.cli import eval_widerface, main
from yolopose.errors import PoseError, UsageError
from yolopose.evaluate.widerface import (
    SETTINGS,
    describe,
    evaluate,
    evaluate_files,
    read_predictions,
    read_truth,
    select_photos,
)

REFERENCE = {  # easy, medium, hard on all images and on the 244 of the subset, by the usual script
    "pred_derronqi_yolov7-face": ((0.9324932634, 0.9127942910, 0.8297205022), (0.925335, 0.896704, 0.842289)),
    "pred_ajmalrasi_Pytorch_Jit_Retinaface": (
        (0.9448373913, 0.9244706568, 0.8153250448),
        (0.931950, 0.910130, 0.810415),
    ),
}


@pytest.mark.parametrize("name", REFERENCE)
def test_published_predictions_have_the_reference_figures(shared: Path, tmp_path: Path, name: str) -> None:
    folder = shared / "data" / "eval" / "widerface"
    with tarfile.open(folder / f"{name}.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    start = time.process_time()
    truth = read_truth(folder / "ground_truth")
    found = read_predictions(tmp_path / "widerface_txt", truth)
    whole = evaluate(truth, found)
    seconds = time.process_time() - start
    subset = evaluate(select_photos(truth, folder / "test_subset_official_names.txt"), found)
    assert [whole[s].ap for s in SETTINGS] == pytest.approx(REFERENCE[name][0], abs=1e-9)
    assert [subset[s].ap for s in SETTINGS] == pytest.approx(REFERENCE[name][1], abs=1e-6)
    assert [s.faces for s in whole.values()] == [7211, 13319, 31958]
    assert [s.faces for s in subset.values()] == [548, 943, 2777]
    assert seconds < 30, "the usual script takes about 60 s; 2 to 3 s are usual here"


def looped(photos: Faces, found: dict[str, Any], setting: str) -> float:
    """The protocol image by image, box by box, threshold by threshold."""
    every = np.concatenate([rows[:, 4] for rows in found.values()])
    curve = np.zeros((1000, 2))
    faces = 0
    for name, (boxes, counted) in photos.items():
        rows = found[name][np.argsort(-found[name][:, 4], kind="stable")]
        score = (rows[:, 4] - every.min()) / (every.max() - every.min())
        keep = {i - 1 for i in counted[setting]}
        faces += len(keep)
        taken: set[int] = set()
        recall, is_proposal = [], []
        for x, y, w, h in rows[:, :4]:
            best, owner = 0.0, -1
            for g, (gx, gy, gw, gh) in enumerate(boxes):
                iw = min(x + w, gx + gw) - max(x, gx) + 1
                ih = min(y + h, gy + gh) - max(y, gy) + 1
                if iw > 0 and ih > 0:
                    iou = iw * ih / ((w + 1) * (h + 1) + (gw + 1) * (gh + 1) - iw * ih)
                    best, owner = (iou, g) if iou > best else (best, owner)
            ignored = best >= 0.5 and owner not in keep
            if best >= 0.5 and owner in keep:
                taken.add(owner)
            recall.append(len(taken))
            is_proposal.append(not ignored)
        for t in range(1000):
            last = np.flatnonzero(score >= 1 - (t + 1) / 1000)
            if len(last):
                curve[t] += sum(is_proposal[: last[-1] + 1]), recall[last[-1]]
    precision = np.concatenate([[0], curve[:, 1] / np.maximum(curve[:, 0], 1), [0]])
    points = np.concatenate([[0], curve[:, 1] / faces, [1]])
    for i in range(len(precision) - 1, 0, -1):
        precision[i - 1] = max(precision[i - 1], precision[i])
    return float(sum((points[i + 1] - points[i]) * precision[i + 1] for i in range(len(points) - 1)))


def random_set(seed: int, images: int = 6) -> tuple[Faces, dict[str, Any]]:
    """Faces, who counts, and detections near them and elsewhere, with equal scores among them."""
    rng = np.random.default_rng(seed)
    photos: Faces = {}
    found = {}
    for i in range(images):
        boxes = rng.integers((0, 0, 5, 5), 200, (rng.integers(0, 8) if i else 5, 4))
        share = {setting: np.flatnonzero(rng.random(len(boxes)) < p) + 1 for setting, p in
                 zip(SETTINGS, (0.4, 0.6, 0.9), strict=True)}  # fmt: skip
        photos[f"{i % 2}--E/{i}"] = (boxes.tolist(), {s: ids.tolist() for s, ids in share.items()})
        near = np.repeat(boxes, 3, 0) + rng.normal(0, 8, (3 * len(boxes), 4))
        rows = np.concatenate([near, rng.uniform(0, 200, (4, 4))]) if i != 2 else np.zeros((0, 4))
        rows[:, 2:] = np.abs(rows[:, 2:]) + 1
        found[f"{i % 2}--E/{i}"] = np.column_stack([rows, rng.uniform(0.2, 0.9, len(rows)).round(1)]).round(2)
    return photos, found


@pytest.mark.parametrize("seed", range(6))
def test_random_sets_equal_a_loop(tmp_path: Path, seed: int) -> None:
    photos, found = random_set(seed)
    truth = read_truth(ground_truth(tmp_path / "gt", photos))
    read = read_predictions(predictions(tmp_path / "pred", found), truth)
    scores = evaluate(truth, read)
    for setting in SETTINGS:
        assert scores[setting].ap == pytest.approx(looped(photos, found, setting), abs=1e-12)


PAIR: Faces = {
    "0--A/a": ([[10, 10, 20, 20]], {"easy": [1], "medium": [1], "hard": [1]}),
    "0--A/b": ([[10, 10, 20, 20], [50, 50, 4, 4]], {"easy": [], "medium": [1], "hard": [1, 2]}),
}
FOUND = {"0--A/a": [[10, 10, 20, 20, 0.6]], "0--A/b": [[10, 10, 20, 20, 0.9], [80, 80, 9, 9, 0.5], [50, 50, 4, 4, 0.2]]}


@pytest.fixture
def small(tmp_path: Path) -> tuple[Path, Path]:
    """(predictions, ground truth) of two images."""
    return predictions(tmp_path / "pred", FOUND), ground_truth(tmp_path / "gt", PAIR)


def test_full_or_subset_scaling_and_faces_that_do_not_count(
    small: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pred, gt = small
    (tmp_path / "names.txt").write_text("\n0--A/a.jpg\n0--A/a.jpg\n")
    (pred / "0--A" / "a.txt").write_text("a\n1\n10 10 20 20 0.9 extra\n\n")
    for normalize, images in (("full", 2), ("subset", 1)):
        words = [f"pred={pred}", f"gt={gt}", f"images={tmp_path / 'names.txt'}", f"normalize={normalize}"]
        assert main(["pose", "eval-widerface", *words]) == 0
        out = capsys.readouterr().out
        assert "easy 1.000000 (1 faces)  medium 1.000000 (1 faces)" in out
        assert f"1 images, 1 boxes, scores scaled over {images} images" in out
    assert evaluate_files(str(pred), str(gt))["easy"].ap == 1.0
    assert "easy 1.000000 (1 faces)" in capsys.readouterr().out


def test_images_without_detections_or_counted_faces(tmp_path: Path) -> None:
    truth = read_truth(ground_truth(tmp_path / "gt", PAIR))
    nothing = evaluate(truth, {"a": np.zeros((0, 5)), "b": np.zeros((0, 5))})
    assert [s.ap for s in nothing.values()] == [0.0, 0.0, 0.0]
    alone = evaluate(truth[1:], {"b": np.array([[10, 10, 20, 20, 0.5]])})
    assert (alone["easy"].ap, alone["easy"].faces) == (None, 0)
    assert "easy - (0 faces)" in describe(alone)
    assert alone["medium"].ap == 1.0, "a lone score is scaled to the last threshold"


def test_a_count_that_does_not_fit_is_warned_of(small: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    pred, gt = small
    (pred / "0--A" / "a.txt").write_text("a\n7\n10 10 20 20 0.9\n")
    assert main(["eval-widerface", f"pred={pred}", f"gt={gt}"]) == 0
    assert "a.txt: says another number of faces than it has rows, as 1 files do" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a\n1\n10 10 20 20\n", "a.txt, line 3: expected a name, a count, then rows x y w h score"),
        ("a\n2\n10 10 20 20 0.5\n1 1 one 1 1\n", "line 4"),
        ("a\n1\n10 10 20 20 nan\n", "line 3"),
        ("10 10 20 20 0.5\n10 10 20 20 0.5\n", "line 2"),
        ("", "line 2"),
        ("a\n", "line 2"),
    ],
)
def test_a_malformed_file_is_reported_with_its_line(small: tuple[Path, Path], text: str, told: str) -> None:
    pred, gt = small
    (pred / "0--A" / "a.txt").write_text(text)
    with pytest.raises(PoseError) as caught:
        read_predictions(pred, read_truth(gt))
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_invalid_paths_and_files_are_one_line(small: tuple[Path, Path], tmp_path: Path) -> None:
    pred, gt = small
    names, none = tmp_path / "names.txt", tmp_path / "none.txt"
    names.write_text("0--A/a.jpg\n0--A/c.jpg\n")
    none.write_text("\n")

    def told(error: type[PoseError] = PoseError, **values: Any) -> str:
        with pytest.raises(error) as caught:
            eval_widerface({"pred": str(pred), "gt": str(gt), **values})
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "pred is missing" in told(UsageError, pred=None)
    assert "gt is missing" in told(UsageError, gt=None)
    assert "pred=nowhere: no such folder" in told(pred="nowhere")
    assert "no wider_face_val.mat" in told(gt=str(pred))
    assert "line 2: 'c' is no image of WIDER FACE's validation set" in told(images=str(names))
    assert "names no image" in told(images=str(none))
    assert "images=nowhere.txt: " in told(images="nowhere.txt")
    (pred / "0--A" / "b.txt").unlink()
    assert "b.txt: no such file, as for 1 of 2 images" in told()
    (gt / "wider_easy_val.mat").write_bytes((gt / "wider_face_val.mat").read_bytes())
    assert "not WIDER FACE's validation ground truth" in told()
    (gt / "wider_easy_val.mat").write_text("no matlab")
    assert "wider_easy_val.mat: not a MATLAB file" in told()


def test_without_scipy_the_extra_is_named(small: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "scipy.io", None)
    with pytest.raises(PoseError, match=r"pip install 'yolopose\[faces\]'"):
        read_truth(small[1])
