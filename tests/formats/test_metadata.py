"""Metadata of exported files: ours, Ultralytics', none."""

import re

import numpy as np
import pytest

from yolopose.errors import PoseError
from yolopose.formats.base import decoded
from yolopose.geometry.keypoints import COCO_17, FACE_5, default_layout
from yolopose.metadata import ModelInfo, info_from_file, is_end_to_end, precision_in_file

# as written by Ultralytics: everything text, containers as Python literals
ULTRALYTICS = {
    "description": "YOLOv8n-pose model", "author": "someone", "version": "8.3.75", "stride": "32", "task": "pose",
    "batch": "1", "imgsz": "[320, 320]", "names": "{0: 'person'}", "kpt_shape": "[17, 3]",
    "args": "{'batch': 1, 'half': False, 'dynamic': False, 'nms': False}",
}  # fmt: skip
STATIC, OUT = [1, 3, 320, 320], [1, 56, 2100]
OPEN = ["batch", 3, "height", "width"]


def test_our_metadata_round_trip() -> None:
    info = ModelInfo({0: "face"}, FACE_5, imgsz=(320, 320), extra={"data": "card"})
    assert info_from_file("f", info.to_strings(), STATIC, [1, 20, 2100], None) == info


def test_ultralytics_metadata() -> None:
    info = info_from_file("f", ULTRALYTICS, STATIC, OUT, None)
    assert (info.names, info.kpt_shape, info.stride, info.imgsz) == ({0: "person"}, (17, 3), 32, (320, 320))
    assert (info.layout.names, info.dynamic, info.batch) == (COCO_17.names, False, 1)
    assert info_from_file("f", ULTRALYTICS, OPEN, ["batch", 56, "anchors"], None).dynamic


def test_input_shape_overrides_metadata() -> None:
    info = info_from_file("f", ULTRALYTICS, [4, 3, 256, 320], [4, 56, 1680], None)
    assert (info.imgsz, info.batch) == ((256, 320), 4)


@pytest.mark.parametrize(("channels", "layout"), [(56, COCO_17), (20, FACE_5)])
def test_layout_from_the_channels_without_metadata(channels: int, layout: object) -> None:
    assert info_from_file("f", {}, STATIC, [1, channels, 2100], None).layout == layout


def test_layout_from_kpt_shape_without_metadata() -> None:
    info = info_from_file("f", {}, STATIC, [1, 4 + 3 + 8, 2100], (4, 2))
    assert (info.kpt_shape, info.names) == ((4, 2), {0: "class0", 1: "class1", 2: "class2"})
    assert info_from_file("f", {}, OPEN, [None, None, None], (5, 3)).channels == 20


def test_layout_from_the_channels_and_names() -> None:
    info = info_from_file("f", {"names": "['a', 'b']"}, STATIC, [1, 4 + 2 + 9, 2100], None)
    assert (info.kpt_shape, info.names) == ((3, 3), {0: "a", 1: "b"})


@pytest.mark.parametrize(
    ("metadata", "output", "kpt_shape", "told"),
    [
        ({"task": "detect"}, [1, 84, 8400], None, "'detect' model"),
        ({}, [1, 84, 8400], None, "kpt_shape=K,D"),
        ({}, [1, "channels", 8400], None, "kpt_shape=K,D"),
        ({}, [1, 56, 8400], (30, 3), "does not fit"),
        (ULTRALYTICS, [1, 84, 8400], None, "84 channels"),
        (ULTRALYTICS | {"kpt_shape": "__import__('os').system('true')"}, OUT, None, "kpt_shape must be"),
        (ULTRALYTICS | {"names": "{'a': open('/etc/passwd')}"}, OUT, None, "names"),
        (ULTRALYTICS | {"stride": "many"}, OUT, None, "stride"),
        (ULTRALYTICS | {"skeleton": "5"}, OUT, None, "skeleton must be a list, got 5"),
    ],
)
def test_errors_are_one_line(
    metadata: dict[str, str], output: list[object], kpt_shape: tuple[int, int] | None, told: str
) -> None:
    with pytest.raises(PoseError, match=told) as error:
        info_from_file("some.onnx", metadata, STATIC, output, kpt_shape)
    assert "\n" not in str(error.value)


def test_output_with_suppression_is_converted() -> None:
    info = info_from_file("f", ULTRALYTICS, STATIC, [1, 300, 57], None)
    assert is_end_to_end([1, 300, 57], info)
    assert not is_end_to_end(OUT, info)
    rows = np.zeros((1, 2, 57), np.float32)
    rows[0, 0, :6], rows[0, 0, 6:] = (10, 20, 30, 60, 0.8, 1), np.arange(51)
    out = decoded(rows, 2)
    assert out.shape == (1, 57, 2)
    assert out[0, :6, 0].tolist() == pytest.approx([20, 40, 20, 40, 0, 0.8])
    assert out[0, 6:, 0].tolist() == list(range(51))
    assert not out[0, :, 1].any()


@pytest.mark.parametrize("k", [5, 17])
def test_suppression_that_the_file_states_is_believed_whatever_the_number_of_rows(k: int) -> None:
    info = ModelInfo({0: "face"}, default_layout((k, 3)), extra={"nms": True})
    for rows in (1, info.channels - 1, info.channels, info.channels + 1):
        output = [1, rows, 6 + 3 * k]
        assert is_end_to_end(output, info_from_file("f", info.to_strings(), STATIC, output, None))
    foreign = {"kpt_shape": f"[{k}, 3]", "names": "{0: 'a'}", "args": "{'nms': True}"}
    output = [1, info.channels, 6 + 3 * k]
    assert is_end_to_end(output, info_from_file("f", foreign, STATIC, output, None))
    plain = ModelInfo({0: "face"}, default_layout((k, 3)))
    assert not is_end_to_end(output, info_from_file("f", plain.to_strings(), STATIC, output, None))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"kpt_shape": "[1000000000, 3]"}, "K of kpt_shape must be from 1 to"),
        ({"kpt_shape": "[1e400, 3]"}, "kpt_shape must be"),
        ({"stride": "0"}, "stride must be from 1"),
        ({"stride": "1000000"}, "stride must be from 1"),
        ({"stride": "1e400"}, "stride must be a whole number"),
        ({"batch": "1e400"}, "batch must be a whole number"),
        ({"batch": "-1"}, "batch must be from 1"),
        ({"imgsz": "[99999, 99999]"}, "imgsz must be"),
        ({"imgsz": "[65000, 65000]"}, "imgsz must be of at most"),
        ({"imgsz": "[]"}, "imgsz must have 1 to 2"),
        ({"flip_idx": "[1e400] * 17"}, "flip_idx must be a list"),
        ({"flip_idx": str([1e400] * 17)}, "flip_idx"),
        ({"kpt_oks_sigmas": str([float("-inf")] * 17)}, "kpt_oks_sigmas"),
        ({"names": "{1: 'a'}"}, "names must number the classes from 0"),
        ({"names": "[[]]"}, "a name of names must be text"),
        ({"names": "{0: '" + "x" * 100_000 + "'}"}, "a name of names must be text of at most"),
        ({"dynamic": "many"}, "dynamic must be a whole number"),
        ({"task": "x" * 100_000}, "this is a 'xx"),
    ],
)  # fmt: skip
def test_counts_and_sizes_are_bounded(changes: dict[str, str], told: str) -> None:
    with pytest.raises(PoseError, match=re.escape(told)) as error:
        info_from_file("some.onnx", ULTRALYTICS | changes, STATIC, OUT, None)
    assert str(error.value).startswith("some.onnx: ")
    assert len(str(error.value)) < 500


@pytest.mark.parametrize(
    ("inputs", "output"),
    [
        ([1, 3, 10**9, 320], OUT),
        ([1, 3, 0, 320], OUT),
        ([10**9, 3, 320, 320], OUT),
        ([-1, 3, 320, 320], OUT),
        (STATIC, [1, 10**12, 2100]),
        (STATIC, [1, 10**12 + 1, 2100]),
    ],
)
def test_shapes_that_a_graph_declares_are_bounded(inputs: list[int], output: list[int]) -> None:
    for metadata in ({}, {"names": "{0: 'a'}"}, ULTRALYTICS):
        with pytest.raises(PoseError, match=r"some\.onnx: "):
            info_from_file("some.onnx", metadata, inputs, output, None)
    with pytest.raises(PoseError, match=r"some\.onnx: "):
        info_from_file("some.onnx", {}, inputs, output, (5, 3))


def test_a_precision_is_one_of_ours() -> None:
    info = info_from_file("f", ULTRALYTICS | {"precision": "x" * 1000}, STATIC, OUT, None)
    assert precision_in_file(info, "float16") == "float16"
    assert precision_in_file(info_from_file("f", ULTRALYTICS | {"precision": "int8"}, STATIC, OUT, None)) == "int8"
