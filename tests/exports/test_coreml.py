"""CoreML: the interpreted program of a package gives the results of torch; CoreML on macOS is a stand-in."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.builders import OWN_SPEC, make_network

from yolopose.config import ExportConfig
from yolopose.errors import PoseError
from yolopose.evaluate.verify import Comparison
from yolopose.formats import coreml_interpreter
from yolopose.formats.base import OpenOptions
from yolopose.formats.pytorch import TorchBackend
from yolopose.formats.quiet import quiet
from yolopose.formats.table import export, format_of, open_backend

with quiet():  # it warns of newer versions of other packages
    ct = pytest.importorskip("coremltools")
pytestmark = [
    pytest.mark.exports,
    pytest.mark.skipif(sys.platform == "darwin", reason="macOS runs the packages itself"),
]

HW = (256, 320)
Compare = Callable[..., Comparison]


def make(network: Any, folder: Path, **options: Any) -> Path:
    return export(network, ExportConfig(format="coreml", **({"imgsz": HW} | options), out=str(folder / "m.mlpackage")))


def weights(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("weight.bin"))


@pytest.fixture(scope="module")
def package(network: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(network, tmp_path_factory.mktemp("coreml"))


def test_float32_at_640(network: Any, against_torch: Compare, tmp_path: Path) -> None:
    path = make(network, tmp_path, imgsz=640)
    assert list(tmp_path.iterdir()) == [path]
    result = against_torch(open_backend(path))
    assert (result.unmatched, result.matched > 50) == (0, True)
    assert result.worst < format_of(path).tolerance == 0.01


def test_metadata(network: Any, package: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert {path.name for path in package.iterdir()} == {"Manifest.json", "Data"}
    backend = open_backend(package)
    assert "interpreted" in caplog.text
    assert (backend.precision, backend.device, backend.fixed_shape) == ("float32", "interpreter", (1, *HW))
    assert (backend.info.names, backend.info.layout) == (network.info.names, network.info.layout)
    assert not [key for key in backend.info.extra if "apple" in key]
    with quiet():
        spec = ct.models.MLModel(str(package), skip_model_load=True).get_spec()
    image, output = spec.description.input[0], spec.description.output[0]
    assert (image.name, image.type.imageType.height, image.type.imageType.width) == ("image", *HW)
    assert (output.name, list(output.type.multiArrayType.shape)) == ("output", [1, 20, 1680])


def test_half_computes_in_16_bit_and_decodes_in_32(
    network: Any, package: Path, against_torch: Compare, tmp_path: Path
) -> None:
    path = make(network, tmp_path, half=True)
    backend = open_backend(path)
    assert backend.precision == "float16"
    result = against_torch(backend)
    assert result.unmatched == 0
    assert 1e-3 < result.worst < 0.5  # all in 16 bit, coordinates alone are 0.25 px apart
    assert weights(path) < 0.52 * weights(package)


def test_int8_leaves_the_anchors_alone(network: Any, package: Path, against_torch: Compare, tmp_path: Path) -> None:
    path = make(network, tmp_path, int8=True)
    backend = open_backend(path)
    assert backend.precision == "int8"
    result = against_torch(backend)
    assert result.unmatched == 0
    assert max(result.box_median, result.keypoint_median) < 0.5
    assert weights(path) < 0.28 * weights(package)


def test_nms_is_recorded(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = make(make_network(), tmp_path, imgsz=64, nms=True, iou=0.6)
    assert "drops keypoints" in caplog.text
    extra = open_backend(path).info.extra
    assert (extra["nms"], extra["iou"], extra["conf"]) == (True, 0.6, 0.25)


def test_every_block_is_converted(tmp_path: Path) -> None:
    from yolopose.nn.network import PoseNet

    torch.manual_seed(0)
    network = PoseNet(OWN_SPEC).eval()
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    expected = TorchBackend(network).infer(images)
    backend = open_backend(make(network, tmp_path, imgsz=64))
    np.testing.assert_allclose(backend.infer(images), expected, atol=1e-5 * np.abs(expected).max())


def test_batches_and_floats(package: Path) -> None:
    backend = open_backend(package)
    images = np.random.default_rng(0).integers(0, 256, (2, *HW, 3), dtype=np.uint8)
    whole = backend.infer(images)
    assert whole.dtype == np.float32
    np.testing.assert_array_equal(whole, np.concatenate([backend.infer(image[None]) for image in images]))
    np.testing.assert_array_equal(whole, backend.infer(images.astype(np.float32) / 255))
    with pytest.raises(PoseError, match="256x320 only, got 320x320"):
        backend.infer(np.zeros((1, 320, 320, 3), np.uint8))


def test_on_macos_the_model_gets_an_rgb_image(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected, given, model = open_backend(package), [], ct.models.MLModel

    class OnMac:
        def __init__(self, path: str, compute_units: Any, skip_model_load: bool) -> None:
            given.append((compute_units, skip_model_load))
            self._model = model(path, skip_model_load=True)
            self.get_spec, self.user_defined_metadata = self._model.get_spec, self._model.user_defined_metadata

        def predict(self, inputs: dict[str, Any]) -> dict[str, Any]:
            image = inputs.pop("image")
            assert (image.mode, not inputs) == ("RGB", True)
            return {"output": expected.infer(np.asarray(image)[None, ..., ::-1])}

    monkeypatch.setattr(ct.models, "MLModel", OnMac)
    monkeypatch.setattr("yolopose.formats.coreml.sys.platform", "darwin")
    images = np.random.default_rng(0).integers(0, 256, (1, *HW, 3), dtype=np.uint8)
    backends = [open_backend(package), open_backend(package, OpenOptions(device="cpu"))]
    assert [backend.device for backend in backends] == ["macOS' choice", "cpu"]
    assert given == [(ct.ComputeUnit.ALL, False), (ct.ComputeUnit.CPU_ONLY, False)]
    np.testing.assert_array_equal(backends[0].infer(images), expected.infer(images))


@pytest.mark.parametrize("name", ["Manifest.json", "model.mlmodel", "weight.bin"])
def test_damaged_packages(package: Path, tmp_path: Path, name: str) -> None:
    path = tmp_path / "m.mlpackage"
    shutil.copytree(package, path)
    (file,) = path.rglob(name)
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(PoseError, match=r"m\.mlpackage: ") as error:
        open_backend(path)
    assert "\n" not in str(error.value)


def test_packages_of_another_kind(package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(coreml_interpreter.OPERATIONS, "silu")
    with pytest.raises(PoseError, match="macOS only, and here: no interpretation of the operations silu"):
        open_backend(package)
    classifier = tmp_path / "c.mlpackage"
    shutil.copytree(package, classifier)
    manifest = json.loads((classifier / "Manifest.json").read_text())
    (entry,) = [e for e in manifest["itemInfoEntries"].values() if e["name"] == "model.mlmodel"]
    spec = ct.proto.Model_pb2.Model(specificationVersion=1)
    (classifier / "Data" / entry["path"]).write_bytes(spec.SerializeToString())
    with pytest.raises(PoseError, match="expected one image input"):
        open_backend(classifier)
