"""The whole chain from images to metrics: recorded values, real pixels, independence of what must not matter."""

import json
import logging
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from helpers.builders import FakeBackend, make_network

from yolopose.callbacks import Hooks
from yolopose.config import ValConfig, parse, pick
from yolopose.data.labels import scan
from yolopose.data.spec import load_data
from yolopose.errors import PoseError, UsageError
from yolopose.evaluate.metrics import Metrics
from yolopose.evaluate.validate import validate
from yolopose.formats.base import Backend, OpenOptions
from yolopose.geometry.keypoints import fixed_sigmas
from yolopose.metadata import ModelInfo

K = 4
SIZES = [(97, 120), (64, 200), (210, 131), (160, 160), (97, 120), (333, 250), (64, 201)]
RECTANGLES = 7


def config(**values: Any) -> ValConfig:
    return parse(ValConfig, {"plots": False, "verbose": False, "workers": 0, "imgsz": 160, **values})


def rectangles(root: Path, *, d: int = 3, blank: tuple[int, ...] = (), names: str = "[thing]") -> Path:
    """Photos with a white rectangle whose corners are the keypoints, as `FakeBackend` finds them; → the YAML.

    The instances of the images in `blank` have no labelled keypoint.
    """
    rng = np.random.default_rng(4)
    for folder in ("images", "labels"):
        (root / folder).mkdir(parents=True)
    for i, (h, w) in enumerate(SIZES):
        low, high = rng.uniform(0.05, 0.3, 2), rng.uniform(0.6, 0.95, 2)
        (x1, y1), (x2, y2) = (low * (w, h)).astype(int), (high * (w, h)).astype(int)
        image = np.full((h, w, 3), 40, np.uint8)
        image[y1:y2, x1:x2] = 255
        cv2.imwrite(str(root / "images" / f"{i:04}.png"), image)
        corners = [((x1, x2)[k % 2] / w, (y1, y2)[k // 2 % 2] / h) for k in range(K)]
        points = [v for x, y in corners for v in ((x, y, 2) if d == 3 else (x, y))]
        points = [0] * len(points) if i in blank else points
        row = [0, (x1 + x2) / 2 / w, (y1 + y2) / 2 / h, (x2 - x1) / w, (y2 - y1) / h, *points]
        (root / "labels" / f"{i:04}.txt").write_text(" ".join(f"{v:.6f}" if v else "0" for v in row) + "\n")
    text = f"train: images\nval: images\nkpt_shape: [{K}, {d}]\nnames: {names}\n"
    (root / "data.yaml").write_text(text)
    return root / "data.yaml"


def run(backend: Backend, yaml: Path, **values: Any) -> Metrics:
    return validate(backend, load_data(yaml), config(**values))


@pytest.fixture(scope="module")
def natural(golden: Path) -> Backend:
    pytest.importorskip("torch")
    from yolopose.formats.table import open_backend

    return open_backend(golden / "natural-n17.pt", OpenOptions(device="cpu"))


SETTINGS = (
    {"batch": 8, "imgsz": 320, "rect": True},
    {"batch": 8, "imgsz": 320, "rect": False},
    {"batch": 1, "imgsz": 640, "rect": True},
    {"batch": 4, "conf": 0.25, "imgsz": 320, "iou": 0.6, "rect": False},
)


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda s: "-".join(f"{k}{v}" for k, v in s.items()))
def test_compat_equals_the_recorded_values(natural: Backend, golden: Path, setting: dict[str, Any]) -> None:
    want = json.loads((golden / "natural-n17-val.json").read_text())[json.dumps(setting, sort_keys=True)]
    got = run(natural, golden / "pose8" / "data.yaml", compat=True, **setting).results_dict
    assert got == pytest.approx(want, abs=5e-4)


def test_every_recorded_setting_is_tested(golden: Path) -> None:
    recorded = json.loads((golden / "natural-n17-val.json").read_text())
    assert {json.dumps(s, sort_keys=True) for s in SETTINGS} == set(recorded)


@pytest.mark.parametrize("values", [{}, {"rect": False}, {"compat": True, "batch": 2}, {"imgsz": (96, 224)}])
@pytest.mark.parametrize("d", [2, 3])
def test_rectangles_are_found_where_they_were_drawn(tmp_path: Path, values: dict[str, Any], d: int) -> None:
    metrics = run(FakeBackend(K, d), rectangles(tmp_path, d=d), **values)
    assert (metrics.images, metrics.class_instances.tolist()) == (len(SIZES), [RECTANGLES])
    assert metrics.box.mp == pytest.approx(1)
    assert (metrics.box.map50, metrics.pose.map) == pytest.approx((0.995, 0.995))
    assert metrics.box.map > 0.93
    assert metrics.keypoints[0]["found"] == K * RECTANGLES
    assert metrics.keypoints[0]["p95_px"] < 1.5
    assert metrics.confusion_matrix is not None
    assert metrics.confusion_matrix.matrix.tolist() == [[RECTANGLES, 0], [0, 0]]


def test_false_alarms_are_counted_on_background_images(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    yaml = rectangles(tmp_path)
    assert run(FakeBackend(K), yaml).false_alarms == {}
    for i in (0, 3, 5):  # the rectangle is found where no label is
        (tmp_path / "labels" / f"{i:04}.txt").write_text("")
    (tmp_path / "labels" / "0005.ignore.txt").write_text("0.5 0.5 1 1\n")  # not known to be background
    for name in ("empty", "grey"):
        cv2.imwrite(str(tmp_path / "images" / f"{name}.png"), np.full((64, 64, 3), 40, np.uint8))
    caplog.set_level(logging.INFO, "yolopose")
    metrics = run(FakeBackend(K), yaml, verbose=True)
    facts = {"background_images": 4, "detections": 2, "images_with_detections": 2, "per_100_images": 50.0}
    assert metrics.false_alarms == facts | {"confidence": 0.25}
    line = "False alarms: 2 detections above confidence 0.25 on 4 background images (per 100: 50.0)"
    assert line in caplog.messages
    assert metrics.report["false_alarms"]["results"] == metrics.false_alarms
    assert run(FakeBackend(K), yaml, conf=0.95).false_alarms["detections"] == 0  # it scores 0.9
    assert run(FakeBackend(K), yaml, prefix="empty").false_alarms["background_images"] == 1


def test_nothing_depends_on_batch_size_workers_or_neighbours(tmp_path: Path) -> None:
    """The same network, image for image: whole results and losses agree to the rounding of float32 sums."""
    pytest.importorskip("torch")
    from yolopose.formats.pytorch import TorchBackend
    from yolopose.loss.pose import Gains, PoseLoss

    backend = TorchBackend(make_network(K, classes=2))
    data = scan(load_data(rectangles(tmp_path, names="[a, b]")), "val")
    loss = PoseLoss(backend.info, (8, 16, 32), Gains(), fixed_sigmas((K, 3)))
    settings: list[dict[str, Any]] = [{"batch": 1}, {"batch": 3, "workers": 2}, {"batch": 16, "workers": 5}]
    found = [validate(backend, data, config(max_det=20, **setting), criterion=loss) for setting in settings]
    assert found[0].losses["val/cls_loss"] > 0
    assert found[0].losses["val/pose_loss"] > 0
    for other in found[1:]:
        assert other.losses == pytest.approx(found[0].losses, rel=1e-5)
        assert other.results_dict == pytest.approx(found[0].results_dict, abs=1e-6)
    reference = [validate(backend, data, config(compat=True, batch=batch), criterion=loss).losses for batch in (1, 16)]
    assert reference[0] != pytest.approx(reference[1], rel=1e-3)


def test_the_loss_is_that_of_the_whole_set_as_one_batch(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from yolopose.evaluate.batching import BatchOptions, groups
    from yolopose.evaluate.losses import batch_of
    from yolopose.formats.pytorch import TorchBackend
    from yolopose.images import read_image
    from yolopose.loss.pose import LOSS_PARTS, Gains, PoseLoss

    backend = TorchBackend(make_network(K))
    data = scan(load_data(rectangles(tmp_path)), "val")
    loss = PoseLoss(backend.info, (8, 16, 32), Gains(), fixed_sigmas((K, 3)))
    square = config(rect=False, batch=2)
    got = validate(backend, data, square, criterion=loss).losses
    parts = groups(backend, [item.hw for item in data.items], pick(BatchOptions, square))
    items, boxes = [data.items[i] for part in parts for i in part.positions], [b for p in parts for b in p.letterboxes]
    canvases = [box.image(read_image(item.path)) for item, box in zip(items, boxes, strict=True)]
    maps = backend.infer_maps(np.stack(canvases))[1]
    with torch.inference_mode():
        want = loss(maps, batch_of([item.labels for item in items], boxes))[1]
    assert list(got.values()) == pytest.approx(want.tolist(), rel=1e-5)
    assert list(got) == [f"val/{part}_loss" for part in LOSS_PARTS]


def test_truths_without_keypoints_are_ignored_and_in_compat_mode_missed(tmp_path: Path) -> None:
    yaml = rectangles(tmp_path, blank=(1, 2, 5))
    metrics = run(FakeBackend(K), yaml)
    assert metrics.pose.map == pytest.approx(0.995)
    assert metrics.pose.scores.truths.tolist() == [RECTANGLES - 3]
    assert metrics.keypoints[0]["labelled"] == K * (RECTANGLES - 3)
    missed = run(FakeBackend(K), yaml, compat=True)
    assert missed.pose.map < 0.6
    assert missed.box.map50 == metrics.box.map50


def test_files_hold_what_was_found(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    yaml = rectangles(tmp_path / "data")
    values: dict[str, Any] = {"save_json": True, "save_txt": True, "save_conf": True, "plots": True, "metric": "coco"}
    metrics = run(FakeBackend(K), yaml, project=str(tmp_path / "runs"), **values)
    assert metrics.save_dir == tmp_path / "runs" / "val"
    rows = json.loads((metrics.save_dir / "predictions.json").read_text())
    assert sorted(row["image_id"] for row in rows) == list(range(len(SIZES)))
    assert set(rows[0]) == {"image_id", "category_id", "bbox", "keypoints", "score"}
    assert rows[0]["category_id"] == 1
    assert len(rows[0]["keypoints"]) == 3 * K
    for row in rows:
        label = (metrics.save_dir / "labels" / f"{row['image_id']:04}.txt").read_text().split()
        true = (tmp_path / "data" / "labels" / f"{row['image_id']:04}.txt").read_text().split()
        assert len(label) == 5 + 3 * K + 1
        assert [float(v) for v in label[1:5]] == pytest.approx([float(v) for v in true[1:5]], abs=0.02)
        h, w = SIZES[row["image_id"]]
        assert row["bbox"][2] == pytest.approx(float(true[3]) * w, abs=2.5)
        assert row["keypoints"][:2] == pytest.approx(row["bbox"][:2], abs=1e-3)
        assert row["keypoints"][1] == pytest.approx((float(true[2]) - float(true[4]) / 2) * h, abs=2.5)
    curves = [f"{kind}{name}_curve.png" for kind in ("Box", "Pose") for name in ("PR", "P", "R", "F1")]
    pictures = [
        "confusion_matrix.png",
        "confusion_matrix_normalized.png",
        "val_batch0_labels.jpg",
        "val_batch0_pred.jpg",
    ]
    for name in (*curves, *pictures):
        assert cv2.imread(str(metrics.save_dir / name)) is not None, name
    assert not list(metrics.save_dir.glob(".*"))
    assert metrics.coco["keypoints"]["AP"] == pytest.approx(1)
    assert metrics.coco["bbox"]["AR1"] == metrics.coco["bbox"]["AP"] > 0.93


def test_label_files_of_images_of_one_name_are_kept_apart(tmp_path: Path) -> None:
    yaml = rectangles(tmp_path / "data")
    for folder in ("images", "labels"):
        (tmp_path / "data" / folder / "more").mkdir()
        for file in list((tmp_path / "data" / folder).glob("000[12].*")):
            file.rename(file.parent / "more" / file.name.replace("0002", "0003"))
    metrics = run(FakeBackend(K), yaml, save_txt=True, project=str(tmp_path))
    assert metrics.save_dir is not None
    names = sorted(path.stem for path in (metrics.save_dir / "labels").iterdir())
    assert names == ["0000", "0001", "0003", "0003-2", "0004", "0005", "0006"]


def test_every_number_of_the_report_carries_its_protocol(tmp_path: Path) -> None:
    yaml = rectangles(tmp_path / "data", blank=(0,))
    values: dict[str, Any] = {"save_json": True, "metric": "coco", "iou": 0.6, "project": str(tmp_path), "max_det": 30}
    metrics = run(FakeBackend(K), yaml, **values)
    assert metrics.save_dir is not None
    told = json.loads((metrics.save_dir / "report.json").read_text())
    blocks = {name: block for name, block in told.items() if isinstance(block, dict) and "protocol" in block}
    assert set(blocks) == {"box", "pose", "coco", "keypoints", "confusion"}
    for block in blocks.values():
        assert block["rule"]
        facts = block["protocol"]
        assert facts["iou"] == 0.6
        assert facts["max_det"] == 30
        assert facts["images"] == len(SIZES)
        assert facts["instances_without_keypoints"] == 1
        assert facts["sigmas"] == [1 / K] * K
        assert "multiple of 32" in facts["resize"]
    assert blocks["box"]["protocol"]["conf"] == 0.001
    assert blocks["confusion"]["protocol"]["conf"] == 0.25
    assert blocks["pose"]["results"]["mAP50-95"] == metrics.pose.map
    assert blocks["box"]["results"]["classes"] == {"person": pytest.approx(
        {"precision": metrics.box.mp, "recall": metrics.box.mr, "mAP50": metrics.box.map50, "mAP50-95": metrics.box.map}
    )}  # fmt: skip


def test_without_matplotlib_all_but_the_plots_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("yolopose.plots.figure.find_spec", lambda name: None)
    metrics = run(FakeBackend(K), rectangles(tmp_path / "data"), project=str(tmp_path), plots=True)
    assert metrics.save_dir is not None
    assert "pip install 'yolopose[train]'" in capsys.readouterr().err
    names = {path.name for path in metrics.save_dir.iterdir()}
    assert names == {"report.json", "val_batch0_labels.jpg", "val_batch0_pred.jpg"}


def test_the_report_is_written_before_the_plots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")

    def fail(*_: Any) -> None:
        raise RuntimeError("no ink")

    monkeypatch.setattr("yolopose.evaluate.metric_plots.plot_metrics", fail)
    with pytest.raises(RuntimeError, match="no ink"):
        run(FakeBackend(K), rectangles(tmp_path / "data"), project=str(tmp_path), plots=True)
    assert (tmp_path / "val" / "report.json").is_file()


def test_the_table_has_the_columns_of_ultralytics(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    yaml = rectangles(tmp_path, blank=(3,))
    run(FakeBackend(K), yaml, verbose=True, project=str(tmp_path / "runs"))
    told = capsys.readouterr().out.splitlines()
    header = next(i for i, line in enumerate(told) if "Instances" in line)
    words = "Class Images Instances Box(P R mAP50 mAP50-95) Pose(P R mAP50 mAP50-95)"
    assert told[header].split() == words.split()
    assert told[header + 1].split()[:3] == ["all", str(len(SIZES)), str(RECTANGLES)]
    assert told[header + 1].split()[5] == "0.995"
    assert len(told[header]) == len(told[header + 1])
    assert any(line.startswith("Protocol: float32, conf 0.001, iou 0.7, max_det 300, imgsz 160, ") for line in told)
    assert any(line.endswith("OKS sigmas 0.25; 1 of 7 instances lack keypoints: ignored for pose") for line in told)
    assert any(line.startswith("Speed: ") and "inference" in line for line in told)
    assert not (tmp_path / "runs").exists()


class TwoClasses(FakeBackend):
    """Takes every rectangle for an `a` with score 0.9 and for a `b` with 0.5."""

    def __init__(self) -> None:
        super().__init__(K)
        self.info = ModelInfo({0: "a", 1: "b"}, self.info.layout)

    def infer(self, images: Any) -> Any:
        out = super().infer(images)
        return np.insert(out, 5, out[:, 4] * (0.5 / 0.9), axis=1)


def test_classes_and_single_cls(tmp_path: Path) -> None:
    yaml = rectangles(tmp_path, names="[a, b]")
    for i in (0, 3):
        file = tmp_path / "labels" / f"{i:04}.txt"
        file.write_text("1" + file.read_text()[1:])
    both = run(TwoClasses(), yaml)
    assert both.class_instances.tolist() == [RECTANGLES - 2, 2]
    assert both.class_images.tolist() == [RECTANGLES - 2, 2]
    assert both.box.r.tolist() == [1, 1]  # an anchor may stand for several classes
    assert both.box.ap50.min() < 0.9
    assert both.class_result(1)[3] == pytest.approx(both.box.maps[1])
    only = run(TwoClasses(), yaml, classes=[1])
    assert only.class_instances.tolist() == [0, 2]
    assert only.box.ap_class_index.tolist() == [1]
    whole = run(TwoClasses(), yaml, single_cls=True)
    assert whole.class_instances.tolist() == [RECTANGLES, 0]
    assert whole.box.map50 == pytest.approx(0.995)


def test_an_exported_file_of_fixed_shape_is_measured_alike(tmp_path: Path) -> None:
    backend = FakeBackend(K, fixed_shape=(2, 96, 128))
    for compat in (False, True):
        yaml = rectangles(tmp_path / str(compat))
        plain = ValConfig(plots=False, verbose=False, workers=0, compat=compat)
        assert validate(backend, load_data(yaml), plain).box.map50 == pytest.approx(0.995)
        with pytest.raises(UsageError, match="takes 96x128 only, not 160x160"):
            run(backend, yaml, compat=compat)
    assert {shape[1:3] for shape in backend.shapes} == {(96, 128)}


def test_data_that_do_not_fit_the_model_are_refused_in_one_line(tmp_path: Path) -> None:
    yaml = rectangles(tmp_path, names="[a, b]")
    with pytest.raises(PoseError, match=r"4 keypoints per instance, the model has 5"):
        run(FakeBackend(5), yaml)
    with pytest.raises(PoseError, match="2 classes, the model knows 1"):
        run(FakeBackend(K), yaml)
    with pytest.raises(UsageError, match="one number"):
        run(FakeBackend(K), yaml, single_cls=True, compat=True, imgsz=(96, 128))


def test_an_image_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    data = scan(load_data(rectangles(tmp_path)), "val")
    (tmp_path / "images" / "0003.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    with pytest.raises(PoseError, match=r"0003\.png"):
        validate(FakeBackend(K), data, config(workers=2))


def test_training_prints_the_main_table_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("torch")
    from yolopose.formats.pytorch import TorchBackend
    from yolopose.loss.pose import Gains, PoseLoss

    data = scan(load_data(rectangles(tmp_path)), "val")
    backend = TorchBackend(make_network(K))
    loss = PoseLoss(backend.info, (8, 16, 32), Gains(), fixed_sigmas((K, 3)))
    caplog.clear()
    with caplog.at_level(logging.INFO, logger="yolopose"):
        validate(backend, data, config(verbose=True), criterion=loss)
    assert len(caplog.messages) == 2


def test_a_validation_that_fails_leaves_no_file(tmp_path: Path) -> None:
    def fail(validator: Any) -> None:
        raise KeyboardInterrupt

    data, hooks = load_data(str(rectangles(tmp_path / "data"))), Hooks({"on_val_batch_end": [fail]})
    with pytest.raises(KeyboardInterrupt):
        validate(FakeBackend(K), data, config(save_json=True), folder=tmp_path / "out", hooks=hooks)
    assert list((tmp_path / "out").iterdir()) == []


def test_the_table_of_keypoints_is_printed_on_request(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = load_data(str(rectangles(tmp_path)))
    for wanted in (False, True):
        metrics = validate(FakeBackend(K), data, config(verbose=True, per_keypoint=wanted))
        assert len(metrics.report["keypoints"]["results"]["table"]) == K + 1
        assert ("PCK.05" in capsys.readouterr().out) == wanted


def test_nothing_is_printed_without_verbose(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    validate(FakeBackend(K), load_data(str(rectangles(tmp_path))), config())
    assert capsys.readouterr() == ("", "")
