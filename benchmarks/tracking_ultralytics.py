"""The trackers of Ultralytics on the scenes of `scenes.py`, as a black box; `tracking.py` runs it.

Its public interface takes detections from a model only. So each scene becomes an ONNX file that returns recorded
rows: the number of the frame stands as black and white squares in a strip below the picture, the file reads it and
looks the rows up, in the layout of an exported pose model (1, 56, A). `model.track(picture, persist=True)` is then
called for frame after frame. The first keypoint carries the position of a row, so that what comes back is known
without comparing boxes.

The tracker files are made here with the names that Ultralytics documents, and equal ours in every value. The protocol
is that of `tracking_peer.py`.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from tracking_peer import digest

if importlib.util.find_spec("peer_shim"):
    import peer_shim  # noqa: F401  (prepares the environment where it is there)
from scenes import Scene, make_scene

WIDTH, HEIGHT, BITS, ROWS = 1280, 720, 10, 300
TRACKER = """tracker_type: {name}
track_high_thresh: 0.25
track_low_thresh: 0.1
new_track_thresh: 0.25
track_buffer: 30
match_thresh: 0.8
fuse_score: {fuse}
gmc_method: {gmc}
proximity_thresh: 0.5
appearance_thresh: 0.8
with_reid: False
model: auto
"""
TRACKERS = {
    "bytetrack": {"name": "bytetrack", "fuse": True, "gmc": "none"},
    "botsort": {"name": "botsort", "fuse": True, "gmc": "sparseOptFlow"},
}


def size_of(scene: Scene) -> tuple[int, int, int, int]:
    """How much smaller the picture is, its width, its height, and the height of the strip below.

    A still camera needs no picture: a quarter of the size saves time and changes nothing, boxes are scaled with it.
    """
    less = 4 if scene.image(0) is None else 1
    return less, WIDTH // less, HEIGHT // less, -(HEIGHT // less) % 32


def rows_of(scene: Scene) -> np.ndarray[Any, Any]:
    """(T, 56, ROWS) centre, size, score, 17 points, as an exported pose model returns them."""
    less, width, _, _ = size_of(scene)
    table = np.zeros((len(scene.frames), 56, ROWS), np.float32)
    for t, frame in enumerate(scene.frames):
        n = len(frame.found)
        boxes = frame.found[:, :4] / less
        table[t, :2, :n] = ((boxes[:, :2] + boxes[:, 2:]) / 2).T
        table[t, 2:4, :n] = (boxes[:, 2:] - boxes[:, :2]).T
        table[t, 4, :n] = frame.found[:, 4]
        table[t, 5:, :n] = frame.points.reshape(n, 51).T
        table[t, 5, :n] = (np.arange(n) + 0.5) * width / ROWS  # the position in the first point's x
        table[t, 6, :n] = 1.0
        table[t, 7, :n] = 0.9
    return table


def write_model(scene: Scene, path: Path) -> None:
    """An ONNX file that reads the frame's number in the strip and returns the rows of that frame."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    _, width, height, strip = size_of(scene)
    half = strip // 2
    nodes = [
        helper.make_node("Slice", ["images", "start", "end", "axes", "step"], ["squares"]),
        helper.make_node("Greater", ["squares", "half"], ["white"]),
        helper.make_node("Cast", ["white"], ["ones"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["ones", "weights"], ["parts"]),
        helper.make_node("ReduceSum", ["parts"], ["sum"], keepdims=0),
        helper.make_node("Cast", ["sum"], ["number"], to=TensorProto.INT64),
        helper.make_node("Unsqueeze", ["number", "axis"], ["index"]),
        helper.make_node("Gather", ["rows", "index"], ["output0"], axis=0),
    ]
    constants = {
        "start": np.array([0, height + half, half]), "end": np.array([1, height + half + 1, BITS * strip]),
        "axes": np.array([1, 2, 3]), "step": np.array([1, 1, strip]), "half": np.full(1, 0.5, np.float32),
        "weights": (2.0 ** np.arange(BITS)).astype(np.float32), "axis": np.zeros(1, np.int64), "rows": rows_of(scene),
    }  # fmt: skip
    graph = helper.make_graph(
        nodes, "recorded",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, height + strip, width])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, [1, 56, ROWS])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    texts = {"task": "pose", "names": "{0: 'person'}", "kpt_shape": "[17, 3]", "stride": "32", "batch": "1",
             "imgsz": f"[{height + strip}, {width}]"}  # fmt: skip
    for key, value in texts.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    onnx.save(model, str(path))


def picture(scene: Scene, t: int) -> np.ndarray[Any, Any]:
    """The picture of frame t with its number below."""
    _, width, height, strip = size_of(scene)
    out = np.zeros((height + strip, width, 3), np.uint8)
    image = scene.image(t)
    if image is not None:
        out[:height] = image
    for bit in range(BITS):
        out[height:, bit * strip : (bit + 1) * strip] = 255 * (t >> bit & 1)
    return out


def track(name: str, scene: Scene, folder: Path) -> dict[str, Any]:
    """The ids of every frame's detections, 0 for none."""
    from ultralytics import YOLO

    settings = dict(TRACKERS[name])
    if scene.image(0) is None:
        settings["gmc"] = "none"  # no picture, no motion
    file = folder / f"{name}.yaml"
    file.write_text(TRACKER.format(**settings))
    model = YOLO(str(folder / "recorded.onnx"), task="pose")
    _, width, height, strip = size_of(scene)
    ids, begun = [], time.perf_counter()
    for t, frame in enumerate(scene.frames):
        row = [0] * len(frame.found)
        result = model.track(
            picture(scene, t), persist=True, tracker=str(file), conf=0.1, iou=0.95, imgsz=(height + strip, width),
            max_det=300, verbose=False, device="cpu",
        )[0]  # fmt: skip
        if result.boxes is not None and result.boxes.id is not None:
            first = result.keypoints.data[:, 0, 0].cpu().numpy()
            for x, number in zip(first, result.boxes.id.cpu().numpy(), strict=True):
                row[int(float(x) * ROWS / width)] = int(number)
        ids.append(row)
    return {"ids": ids, "ms": (time.perf_counter() - begun) / len(ids) * 1e3}


def main() -> None:
    """Answer until standard input ends."""
    answers, sys.stdout = sys.stdout, sys.stderr  # what the other package prints is no answer
    for line in sys.stdin:
        asked = json.loads(line)
        scene = make_scene(asked["kind"], asked["seed"])
        if digest(scene) != asked["digest"]:
            raise SystemExit("this environment makes another scene of the same seed")
        with tempfile.TemporaryDirectory() as folder:
            write_model(scene, Path(folder) / "recorded.onnx")
            answer = {name: track(name, scene, Path(folder)) for name in TRACKERS}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    os.environ.setdefault("YOLO_OFFLINE", "true")
    main()
