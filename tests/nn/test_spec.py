"""Model YAML files: what is found, what is taken from the name, what is refused and how."""

import logging
from pathlib import Path

import pytest
import yaml

from yolopose.errors import PoseError
from yolopose.nn.network import PoseNet
from yolopose.nn.spec import check_spec, load_spec, read_rows, scale_channels

GOOD = {
    "nc": 2,
    "kpt_shape": [4, 3],
    "scales": {"n": [0.33, 0.25, 1024], "m": [0.67, 0.75, 768]},
    "backbone": [[-1, 1, "Conv", [16, 3, 2]], [-1, 3, "C2f", [32, True]]],
    "head": [[-1, 1, "Conv", [32, 3, 2]], [[1, 2], 1, "Pose", ["nc", "kpt_shape"]]],
}


def write(folder: Path, name: str = "yolov8-mine.yaml", **changes) -> Path:
    spec = {key: value for key, value in (GOOD | changes).items() if value is not None}
    path = folder / name
    path.write_text(yaml.safe_dump(spec, sort_keys=False))
    return path


@pytest.mark.parametrize(
    ("name", "scale", "rows"),
    [
        ("yolov8n-pose.yaml", "n", 23),
        ("yolov8x-pose.yaml", "x", 23),
        ("yolov8x-pose-p6.yaml", "x", 31),
        ("yolov8l-pose-p6.yaml", "l", 31),
    ],
)
def test_packaged_file_serves_every_scale(name, scale, rows):
    spec = load_spec(name)
    assert (spec["scale"], spec["yaml_file"]) == (scale, name)
    assert len(read_rows(spec)) == rows


def test_no_letter_is_the_first_scale_with_a_notice(caplog):
    with caplog.at_level(logging.WARNING):
        assert load_spec("yolov8-pose.yaml")["scale"] == "n"
    assert "yolov8-pose.yaml names no scale; taking n" in caplog.text


def test_own_file_by_its_name_or_with_the_letter_put_in(tmp_path):
    path = write(tmp_path)
    assert load_spec(tmp_path / "yolov8m-mine.yaml")["scale"] == "m"
    assert load_spec(path)["scale"] == "n"
    other = write(tmp_path, "yolov8m-mine.yaml", nc=7)
    assert load_spec(other)["nc"] == 7  # the exact name wins


def test_own_file_without_scales(tmp_path):
    path = write(tmp_path, "plain.yaml", scales=None, depth_multiple=0.33, width_multiple=0.5)
    rows = read_rows(load_spec(path))
    network = PoseNet(load_spec(path))
    assert rows[1].repeats == 1
    assert [part.channels for part in network.parts[:3]] == [8, 16, 16]


def test_missing_file_names_what_there_is():
    with pytest.raises(
        PoseError, match=r"yolov9z-pose.yaml: no such model YAML; the package has yolov8\{n,s,m,l,x\}-pose"
    ):
        load_spec("yolov9z-pose.yaml")


def test_broken_yaml(tmp_path):
    path = tmp_path / "broken.yaml"
    path.write_text("nc: [1\n")
    with pytest.raises(PoseError, match=r"broken.yaml: not a YAML file: while parsing"):
        load_spec(path)
    path.write_text("- 1\n")
    with pytest.raises(PoseError, match="lines of the form"):
        load_spec(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nc": None}, "key 'nc' is missing"),
        ({"head": None}, "key 'head' is missing"),
        ({"nc": "many"}, "nc must be a whole number of classes, got 'many'"),
        ({"nc": 0}, "nc must be"),
        ({"kpt_shape": [17, 4]}, r"kpt_shape must be \[K, 2\] or \[K, 3\], got \[17, 4\]"),
        ({"activation": "nn.ReLU()"}, r"activation 'nn.ReLU\(\)' is not supported"),
        ({"scales": {"n": [1, 1]}}, r"scale 'n' must be \[depth, width, max_channels\], got \[1, 1\]"),
        ({"scales": [1, 1, 1]}, "scales must map a letter"),
        ({"scale": "q"}, "scale 'q' is not among its scales n, m"),
        ({"depth_multiple": "deep", "scales": None}, "depth_multiple must be a number above 0, got 'deep'"),
    ],
)
def test_bad_keys(tmp_path, changes, message):
    with pytest.raises(PoseError, match=f"yolov8-mine.yaml: {message}") as error:
        load_spec(write(tmp_path, **changes))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([-1, 1, "Conv"], r"a row is \[from, repeats, module, \[arguments\]\]"),
        ([-1, 1, "Conv", 32], r"a row is \["),
        ("Conv", r"a row is \["),
        ([2, 1, "Conv", [32]], "'from' 2 is not an earlier row; this is row 2 of the network"),
        ([-4, 1, "Conv", [32]], "'from' -4 is not an earlier row"),
        (["one", 1, "Conv", [32]], "'from' must be a row number"),
        ([[], 1, "Concat", [1]], "'from' must be a row number"),
        ([-1, 0, "Conv", [32]], "repeats must be a whole number"),
        ([-1, 1, "Transformer", [32]], "unknown module 'Transformer'; known are Conv, DWConv"),
        ([-1, 1, "Conv", []], "Conv cannot be made from these arguments"),
        ([-1, 1, "Conv", ["__import__('os')"]], "Conv cannot be made from these arguments"),
        ([-1, 1, "Conv", [32, 3, 2, 1, 1, 1, True, 9]], "Conv cannot be made from these arguments"),
        ([-1, 1, "nn.Upsample", []], "nn.Upsample cannot be made from these arguments"),
        ([-1, 1, "nn.Upsample", [None, 8, "nearest"]], "cannot enlarge a map of stride 2 8 times"),
        ([-1, 1, "nn.Upsample", [None, 0, "nearest"]], "cannot enlarge"),
        ([[0, 1], 1, "Pose", ["nc", "kpt_shape"]], "exactly one Pose, as the last row"),
    ],
)
def test_bad_rows_are_named(tmp_path, row, message):
    path = write(tmp_path, head=[row, [[1, 2], 1, "Pose", ["nc", "kpt_shape"]]])
    with pytest.raises(PoseError, match=r"yolov8-mine.yaml: head row 0 .*" + message) as error:
        PoseNet(load_spec(path))
    assert "\n" not in str(error.value)


def test_sections_and_last_row(tmp_path):
    with pytest.raises(PoseError, match="backbone must be a list of rows"):
        PoseNet(load_spec(write(tmp_path, backbone="Conv")))
    with pytest.raises(PoseError, match=r"head row 0 .*exactly one Pose"):
        PoseNet(load_spec(write(tmp_path, head=[[-1, 1, "Conv", [8]]])))
    with pytest.raises(PoseError, match=r"the arguments of Pose are \[nc, kpt_shape\]"):
        PoseNet(load_spec(write(tmp_path, head=[[-1, 1, "Pose", [80, [17, 3]]]])))
    with pytest.raises(PoseError, match=r"joins maps of different strides: \[4, 2\]"):
        PoseNet(
            load_spec(write(tmp_path, head=[[-1, 1, "Conv", [8, 3, 2]], [[-1, 0], 1, "Concat", [1]], GOOD["head"][1]]))
        )


def test_a_specification_is_not_changed():
    given = {key: value for key, value in GOOD.items()}
    before = repr(given)
    check_spec(given)
    PoseNet(given | {"scale": "m"})
    assert repr(given) == before


@pytest.mark.parametrize(
    ("channels", "width", "limit", "expected"), [(64, 0.25, 1024, 16), (1024, 1.25, 512, 640), (100, 0.25, 1024, 32)]
)
def test_channels_are_multiples_of_eight(channels, width, limit, expected):
    assert scale_channels(channels, width, limit) == expected
