"""What says how a model is built or read: ONNX files, metadata within a file and beside it, model YAML, arguments."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import yaml
from fuzz.harness import NUMBERS, SMALL, campaign, confuse, many, mutate, odd_value
from helpers.builders import OWN_SPEC
from onnx import helper

from yolopose.config import TrainConfig, parse
from yolopose.detect import DetectOptions, detect
from yolopose.errors import PoseError
from yolopose.files import read_yaml
from yolopose.formats.base import OpenOptions
from yolopose.formats.onnx import OnnxBackend
from yolopose.geometry.keypoints import FACE_5
from yolopose.metadata import METADATA, ModelInfo, info_from_file, is_end_to_end, load_metadata, precision_in_file
from yolopose.nn.network import PoseNet
from yolopose.nn.spec import load_spec

INFO = ModelInfo({0: "face", 1: "dog"}, FACE_5, imgsz=(64, 96), extra={"precision": "float16", "args": {"nms": False}})
IMAGE = np.zeros((64, 96, 3), np.uint8)


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    """A graph of the right signature that computes next to nothing: a file of some hundred bytes."""
    shape = helper.make_tensor("shape", onnx.TensorProto.INT64, [3], [0, 0, -1])
    weight = helper.make_tensor("w", onnx.TensorProto.FLOAT, [21, 3, 1, 1], [0.1] * 63)
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["images", "w"], ["map"], strides=[32, 32]),
            helper.make_node("Reshape", ["map", "shape"], ["output0"]),
        ],
        "g",
        [helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, ["b", 3, "h", "w"])],
        [helper.make_tensor_value_info("output0", onnx.TensorProto.FLOAT, ["b", 21, "a"])],
        [shape, weight],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(made, INFO.to_strings())
    onnx.checker.check_model(made)
    return made


def run_onnx(path: Path) -> None:
    backend = OnnxBackend(path, OpenOptions(threads=1))
    detect(backend, [IMAGE], DetectOptions(imgsz=64, conf=0.01))


def test_the_unchanged_model_runs(model: onnx.ModelProto, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    run_onnx(tmp_path / "m.onnx")
    assert OnnxBackend(tmp_path / "m.onnx", OpenOptions()).info.names == INFO.names


@many
def test_faults_in_onnx_bytes(model: onnx.ModelProto, tmp_path: Path, count: int) -> None:
    data, path = model.SerializeToString(), tmp_path / "m.onnx"

    def target(case: bytes) -> None:
        path.write_bytes(case)
        run_onnx(path)

    campaign(target, lambda rng: mutate(data, rng), count, tmp_path)


def odd_text(rng: random.Random, good: str) -> str:
    """Text where a literal is expected."""
    odd = (*NUMBERS, "[1e400, 3]", "[1000000000, 3]", "{0: 'a'", "{'a': []}", "[[]]", "()", "None", "'x'" * 2000,
           "{" * 300, "(" * 5000, "1" * 6000, "__import__('os').system('id')", "{[]: 1}", "-" * 3000 + "1", "\\n\\x1b",
           "{0: 'a\\ud800'}", "1j", "b'x'", "{1, 2}", str(dict.fromkeys(range(5000), "c")), "\0",
           "[True, 3]")  # fmt: skip
    return rng.choice(odd) if rng.random() < 0.6 else mutate(good.encode(), rng).decode("utf-8", "replace")


@many
def test_faults_in_metadata_as_text(tmp_path: Path, count: int) -> None:
    good = INFO.to_strings()
    outputs = ([1, 21, 126], ["b", 21, "a"], [1, 10**12, 5], [None, None, None], [1, 300, 21], [0, -1, 2**62])

    def make(rng: random.Random) -> Any:
        changed = dict(good)
        for key in rng.sample(sorted(good), rng.choice((1, 1, 2, 5))):
            changed[key] = odd_text(rng, good[key])
        if rng.random() < 0.1:
            changed.pop(rng.choice(sorted(changed)))
        inputs = rng.choice(([1, 3, 64, 96], ["b", 3, "h", "w"], [2**40, 3, 64, 96], [1, 3, 0, -1], [1, 3, None, 96]))
        return changed, inputs, rng.choice(outputs), rng.choice((None, None, (5, 3), (10**9, 3)))

    def target(case: Any) -> None:
        info = info_from_file("some.onnx", *case)
        again = info_from_file("some.onnx", info.to_strings(), case[1], case[2], None)
        assert (again.names, again.layout) == (info.names, info.layout)
        is_end_to_end(case[2], info)
        precision_in_file(info)

    campaign(target, make, count, tmp_path)


def few_large(rng: random.Random) -> Any:
    """Large values seldom: PyYAML writes and reads some 30,000 entries a second."""
    return odd_value(rng) if rng.random() < 0.1 else rng.choice(SMALL)()


def yaml_cases(good: dict[str, Any]) -> Callable[[random.Random], bytes]:
    """YAML with faults in its bytes, or in the values that it holds."""
    text = yaml.safe_dump(good, sort_keys=False).encode()
    tags = (b"!!python/name:os.system ", b"!!bool ", b"&a ", b"*a", b"!!set ", b"<<: ", b"2001-99-99", b"? ", b"|\n ")

    def make(rng: random.Random) -> bytes:
        if rng.random() < 0.5:
            return mutate(text, rng, tags)
        return yaml.safe_dump(confuse(good, rng, few_large), sort_keys=False, allow_unicode=False).encode(
            "utf-8", "replace"
        )

    return make


@many
def test_faults_in_a_metadata_file(tmp_path: Path, count: int) -> None:
    def target(case: bytes) -> None:
        (tmp_path / METADATA).write_bytes(case)
        info = info_from_file("some_model", load_metadata(tmp_path / METADATA), [1, 3, 64, 96], [1, 21, 126], None)
        info.to_strings()

    campaign(target, yaml_cases(INFO.file_metadata()), count, tmp_path)


@many
def test_faults_in_a_model_yaml(tmp_path: Path, count: int) -> None:
    def target(case: bytes) -> None:
        (tmp_path / "own.yaml").write_bytes(case)
        PoseNet(load_spec(tmp_path / "own.yaml"))

    scaled = OWN_SPEC | {"scales": {"n": [0.33, 0.25, 1024]}, "ch": 3}
    campaign(target, yaml_cases(scaled), count, tmp_path)


@many
def test_faults_in_an_argument_file(tmp_path: Path, count: int) -> None:
    good = {"task": "pose", "mode": "train", "model": "a.yaml", "imgsz": 64, "epochs": 3, "batch": 2, "device": "cpu",
            "classes": [0, 1], "lr0": 0.01, "cos_lr": False, "optimizer": "auto", "project": "runs"}  # fmt: skip

    def target(case: bytes) -> None:
        path = tmp_path / "args.yaml"
        path.write_bytes(case)
        read_yaml(path)
        parse(TrainConfig, {"cfg": str(path)})

    campaign(target, yaml_cases(good), count, tmp_path)


@pytest.mark.parametrize("place", ["../secret.bin", "{folder}/secret.bin", "link.bin"])
def test_weights_outside_the_folder_of_an_onnx_file_are_not_read(
    model: onnx.ModelProto, tmp_path: Path, place: str
) -> None:
    inner = tmp_path / "model"
    inner.mkdir()
    (tmp_path / "secret.bin").write_bytes(np.full(63, 0.1, np.float32).tobytes())
    (inner / "link.bin").symlink_to(tmp_path / "secret.bin")
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    weight = changed.graph.initializer[1]
    weight.ClearField("float_data")
    weight.data_location = onnx.TensorProto.EXTERNAL
    entry = weight.external_data.add()
    entry.key, entry.value = "location", place.format(folder=tmp_path)
    (inner / "m.onnx").write_bytes(changed.SerializeToString())
    with pytest.raises(PoseError, match=r"m\.onnx: ONNX Runtime cannot load it"):
        OnnxBackend(inner / "m.onnx", OpenOptions())
