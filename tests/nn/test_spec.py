"""Model YAML files: what is found, what is taken from the name, what is refused and how."""

import logging
from pathlib import Path

import pytest
import yaml

from yolopose.errors import PoseError
from yolopose.nn.network import PoseNet, check_maps
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


def test_without_a_scale_letter_the_first_scale_is_taken_with_a_warning(caplog):
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
        (
            {"scales": {"n": [1, 1]}},
            r"scale 'n' must be \[depth, width, max_channels\], got \[1, 1\] \(row must have 3 entries, has 2\)",
        ),
        ({"scales": [1, 1, 1]}, "scales must map a letter"),
        ({"scale": "q"}, "scale 'q' is not among its scales n, m"),
        ({"depth_multiple": "deep", "scales": None}, "depth_multiple must be a number from 0 to 100, got 'deep'"),
    ],
)
def test_invalid_values_in_a_model_yaml_are_named(tmp_path, changes, message):
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


def test_feature_maps_of_unequal_size_are_reported(tmp_path):
    head = [[-1, 1, "Conv", [32, 3, 2, 5]], [[1, 2], 1, "Pose", ["nc", "kpt_shape"]]]
    assert check_maps(PoseNet(load_spec(write(tmp_path, head=head)))).info.stride == 4
    head = [[-1, 1, "Conv", [32, 5, 1, 0]], [[-1, 1], 1, "Concat", [1]], [[1, 3], 1, "Pose", ["nc", "kpt_shape"]]]
    network = PoseNet(load_spec(write(tmp_path, head=head)))
    with pytest.raises(PoseError, match=r"^yolov8-mine\.yaml: its maps do not fit one another: "):
        check_maps(network)


def first(row) -> dict:
    return {"backbone": [row, [-1, 1, "C2f", [32]]]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nc": 10**6}, "nc must be a whole number of classes, got 1000000"),
        ({"kpt_shape": [10**9, 3]}, "K of kpt_shape must be from 1 to 10000"),
        ({"kpt_shape": [10**4, 3]}, "the network has [0-9]+ parameters, more than 200000000"),
        ({"scales": None, "width_multiple": 1e308}, "width_multiple must be a number from 0 to 100, got 1e.308"),
        ({"scales": None, "depth_multiple": 0}, "depth_multiple must be a number above 0"),
        ({"scales": {"n": [float("nan"), 1, 1024]}}, "scale 'n' must be .*depth must be a number from 0 to 100"),
        ({"scales": {"n": [1, 1, -5]}}, "scale 'n' must be .*max_channels must be a number from 1 to inf"),
        ({"scales": {(1, 2): 3}, "scale": "n"}, "scale 'n' is not among"),
        ({"ch": 10**9}, "ch must be from 1 to 65536"),
        ({"ch": "three"}, "ch must be a whole number"),
        ({"backbone": [[-1, 1, "Conv", [16, 3, 2]]] * 1001}, r"backbone row 1000 \[-1, .*more than 1000 rows"),
        ({"backbone": [[-1, 999, "C2f", [16]]] * 3, "scales": None}, "more than 2000 rows, repeats counted"),
        (
            first([-1, 10**9, "C2f", [16]]),
            "repeats must be a whole number of at least 1 and at most 1000",
        ),
        (first([-1, 1, "Conv", [10**9, 3, 2]]), "channels must be from 1 to 65536"),
        (
            first([-1, 1, "Conv", [float("inf"), 3, 2]]),
            "channels must be a whole number, got inf",
        ),
        (first([-1, 1, "Conv", [16, 10**6, 2]]), "the network has [0-9]+ parameters"),
        (first([-1, 1, "Conv", [16, 3, 10**6]]), "its output has stride 1000000"),
        (first([-1, 1, "Conv", [16, 3, 0]]), "its output has stride 0|cannot be made"),
        (
            first([-1, 1, "Conv", [16, 3, 2, None, 0]]),
            "Conv cannot be made from these arguments",
        ),
        (
            first([-1, 1, "C2f", [16, True, 1, 1e308]]),
            "C2f cannot be made from these arguments",
        ),
        (
            first([-1, 1, "SPP", [16, list(range(65))]]),
            "arguments must be at most 64 numbers",
        ),
        (first([-1, 1, "SPP", [16, [[[1]]]]]), "arguments must be at most 64 numbers"),
        (first([[0] * 100, 1, "Concat", [1]]), "'from' must be a row number"),
        (first([-1, 1, ["Conv"] * 9999, [16]]), "module must be a name"),
    ],
)
def test_counts_and_sizes_are_bounded_before_anything_is_built(changes, message):
    spec = {key: value for key, value in (GOOD | {"yaml_file": "own.yaml"} | changes).items() if value is not None}
    with pytest.raises(PoseError, match=f"^own.yaml: .*{message}") as error:
        PoseNet(spec, channels=spec.get("ch", 3))
    assert len(str(error.value)) < 700


@pytest.mark.parametrize(("depth", "message"), [(8, "not a YAML file: more than 150000 entries"), (3, "")])
@pytest.mark.parametrize(
    "key", ["nc", "kpt_shape", "scales", "activation", "backbone", "head", "depth_multiple", "scale"]
)
def test_references_in_a_file_are_not_expanded_in_its_error(tmp_path, key, depth, message):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, depth + 1)]
    rest = yaml.safe_dump(GOOD | {key: None}).replace(f"{key}: null", f"{key}: *a{depth}")
    path = tmp_path / "bomb.yaml"
    path.write_text("\n".join([*lines, rest]))
    with pytest.raises(PoseError, match=f"bomb.yaml: {message}") as error:
        PoseNet(load_spec(path))
    assert len(str(error.value)) < 700


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
