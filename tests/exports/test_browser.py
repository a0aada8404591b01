"""ONNX files in a browser: Chromium with onnxruntime-web computes what torch computes, and the example finds faces."""

import functools
import json
import os
import runpy
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from yolopose.config import ExportConfig
from yolopose.detect import DetectOptions, detect
from yolopose.formats.base import OpenOptions, to_nchw
from yolopose.formats.calibration import letterboxed, sample_photographs
from yolopose.formats.table import export, open_backend
from yolopose.geometry.boxes import cxcywh_to_xyxy, nms
from yolopose.images import read_image

HERE = Path(__file__).parent
RUNTIME = HERE / "node_modules" / "onnxruntime-web" / "dist"
EXAMPLE = HERE.parents[1] / "examples" / "browser"
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), "")
PHOTOGRAPHS = [p for p in sample_photographs() if p.stem.startswith(("astronaut", "intel"))]
SIDE = 320
SECONDS = 180

pytestmark = [
    pytest.mark.exports,
    pytest.mark.skipif(not BROWSER, reason="no Chromium or Chrome on the PATH"),
    pytest.mark.skipif(not RUNTIME.is_dir(), reason="no onnxruntime-web: npm ci --ignore-scripts in tests/exports"),
]


class Handler(runpy.run_path(str(EXAMPLE / "serve.py"))["Handler"]):  # type: ignore[misc]
    """The example's server, which also takes answers."""

    server: "Server"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(204)
        self.end_headers()
        self.server.take(self.path.strip("/"), body, self.headers["X-Dims"])

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Server(ThreadingHTTPServer):
    """Serves a folder; arrays and JSON that the page posts are in `answers` under the path they were posted to."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
        self.answers: dict[str, Any] = {}
        self.finished = threading.Event()

    def take(self, name: str, body: bytes, dims: str | None) -> None:
        if name == "failed":
            self.answers[name] = body.decode()
        elif dims:
            self.answers[name] = np.frombuffer(body, np.float32).reshape([int(n) for n in dims.split(",")])
        else:
            self.answers[name] = json.loads(body)
        if name in ("failed", "done"):
            self.finished.set()


@contextmanager
def serve(folder: Path) -> Iterator[Server]:
    server = Server(folder)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def browse(address: str, profile: Path) -> Iterator[None]:
    """A browser of its own profile on one page, for as long as this lasts."""
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
    command = [BROWSER, *options, "--disable-background-networking", f"--user-data-dir={profile}", address]
    with (profile.parent / "browser.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # it and its children, which share the new session
        process.wait()


@pytest.fixture(scope="module")
def inputs(network: Any) -> dict[str, np.ndarray]:
    """Letterboxed photographs (B, 3, H, W) by name; the part before the dash names the model."""

    def tensor(path: Path, hw: tuple[int, int]) -> np.ndarray:
        return to_nchw(letterboxed(path, network.info, hw))

    square = [tensor(path, (SIDE, SIDE)) for path in PHOTOGRAPHS]
    single = {f"{model}-{i}": image for model in ("static", "model") for i, image in enumerate(square)}
    wide = tensor(PHOTOGRAPHS[1], (224, 384))
    return single | {"dynamic-batch": np.concatenate(square), "dynamic-wide": wide}


@pytest.fixture(scope="module")
def site(network: Any, inputs: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pages, runtime, models, tensors and photographs."""
    folder = tmp_path_factory.mktemp("browser") / "site"
    shutil.copytree(HERE / "browser", folder)
    shutil.copy(EXAMPLE / "index.html", folder / "example.html")
    (folder / "ort").symlink_to(RUNTIME)
    for name, options in {"static": {}, "dynamic": {"dynamic": True}, "model": {"nms": True}}.items():
        export(network, ExportConfig(imgsz=SIDE, out=str(folder / f"{name}.onnx"), **options))
    models = []
    for name, tensor in inputs.items():
        (folder / f"{name}.f32").write_bytes(tensor.tobytes())
        models.append({"name": name, "model": name.split("-")[0] + ".onnx", "dims": tensor.shape})
    examples = []
    for i, path in enumerate(PHOTOGRAPHS):
        shutil.copy(path, folder)
        examples.append({"name": f"example-{i}", "page": f"example.html?image={path.name}"})
    (folder / "jobs.json").write_text(json.dumps({"models": models, "examples": examples}))
    return folder


@pytest.fixture(scope="module")
def answers(site: Path) -> dict[str, Any]:
    """What the browser posted, by name."""
    with serve(site) as server, browse(f"http://127.0.0.1:{server.server_address[1]}/", site.parent / "profile"):
        finished = server.finished.wait(SECONDS)
    log = (site.parent / "browser.log").read_text(errors="replace")
    assert finished, f"the page did not finish in {SECONDS} s; it got to {list(server.answers)}\n{log[-2000:]}"
    assert "failed" not in server.answers, server.answers["failed"]
    return server.answers


@pytest.fixture(scope="module")
def expected(network: Any, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What torch makes of the same tensors, (B, 4+C+K·D, A)."""
    import torch

    with torch.inference_mode():
        return {name: network.eval()(torch.from_numpy(tensor)).numpy() for name, tensor in inputs.items()}


def suppressed(output: np.ndarray, config: ExportConfig) -> np.ndarray:
    """Decoded (20, A) of one class and five points → (N, 21) x1 y1 x2 y2 score class keypoints, best first."""
    rows = output.T[output[4] > config.conf]
    boxes = cxcywh_to_xyxy(rows[:, :4])
    kept = nms(boxes.astype(np.float64), rows[:, 4], config.iou)
    return np.concatenate([boxes, rows[:, 4:5], np.zeros((len(rows), 1)), rows[:, 5:]], 1)[kept]


def pixels(rows: np.ndarray) -> np.ndarray:
    """(N, 20 or 21) → (N, 14): box, and keypoints without visibility."""
    points = rows[:, -15:].reshape(-1, 5, 3)[..., :2]
    return np.concatenate([rows[:, :4], points.reshape(len(rows), -1)], 1)


def test_threads_were_at_work(answers: dict[str, Any]) -> None:
    assert answers["done"] == {"isolated": True, "threads": 2}


@pytest.mark.parametrize("model", ["static", "dynamic"])
def test_decoded_output_is_that_of_torch(answers: dict[str, Any], expected: dict[str, Any], model: str) -> None:
    found = 0
    for name in (name for name in expected if name.startswith(model)):
        assert answers[name].shape == expected[name].shape
        for output, reference in zip(answers[name], expected[name], strict=True):
            hits = reference[4] > 0.05
            found += hits.sum()
            np.testing.assert_allclose(output[4], reference[4], rtol=0, atol=1e-4)
            np.testing.assert_allclose(pixels(output.T[hits]), pixels(reference.T[hits]), rtol=0, atol=1e-2)
            np.testing.assert_allclose(output[7::3, hits], reference[7::3, hits], rtol=0, atol=1e-4)
    assert found > 20


def test_suppression_is_that_of_torch(answers: dict[str, Any], expected: dict[str, Any]) -> None:
    found = 0
    for name in (name for name in expected if name.startswith("model")):
        reference = suppressed(expected[name][0], ExportConfig())
        rows = answers[name][0]
        assert rows.shape == (ExportConfig().max_det, 21)
        rows = rows[rows[:, 4] > 0]
        found += len(rows)
        np.testing.assert_allclose(rows[:, 4:6], reference[:, 4:6], rtol=0, atol=1e-4)
        np.testing.assert_allclose(pixels(rows), pixels(reference), rtol=0, atol=1e-2)
    assert found > 3


def test_the_example_finds_what_predict_finds(site: Path, answers: dict[str, Any]) -> None:
    """On its own letterboxed pixels: browsers resize a little differently from OpenCV, which may hide a detection that
    scores within that difference of the threshold."""
    backend, conf, noise = open_backend(site / "model.onnx", OpenOptions(device="cpu")), DetectOptions().conf, 0.02
    for i, path in enumerate(PHOTOGRAPHS):
        found, image = answers[f"example-{i}"], read_image(path)
        assert found
        reference = detect(backend, [image], DetectOptions(imgsz=SIDE, conf=conf - noise))[0]
        boxes = np.array([row["box"] for row in found])
        near = np.abs(reference.boxes[None, :, :4] - boxes[:, None]).max(2).argmin(1)
        np.testing.assert_allclose(boxes, reference.boxes[near, :4], rtol=0, atol=1)
        np.testing.assert_allclose([row["score"] for row in found], reference.boxes[near, 4], rtol=0, atol=noise)
        points = np.array([row["points"] for row in found])[..., :2]
        np.testing.assert_allclose(points, reference.keypoints[near, :, :2], rtol=0, atol=1)
        assert sorted(near) == sorted(set(near))
        assert set(np.flatnonzero(reference.boxes[:, 4] > conf + noise)) <= set(near)
