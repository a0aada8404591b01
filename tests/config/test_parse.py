"""Arguments: types, ranges, unknown keys, files of arguments."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml

from yolopose.config import MODES, PredictConfig, TrainConfig, ValConfig, arguments, parse, to_dict
from yolopose.errors import UsageError


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("conf", "0.4", 0.4),
        ("conf", 1, 1.0),
        ("imgsz", "640", 640),
        ("imgsz", 640.0, 640),
        ("imgsz", "480,640", (480, 640)),
        ("imgsz", [480, 640], (480, 640)),
        ("classes", "0", (0,)),
        ("classes", "[0, 2]", (0, 2)),
        ("classes", "None", None),
        ("device", "0", "0"),
        ("device", "0,1", "0,1"),
        ("device", 0, "0"),
        ("device", "cpu", "cpu"),
        ("save", "true", True),
        ("save", 0, False),
        ("line_width", "", None),
        ("name", "123", "123"),
        ("kpt_shape", "5,3", (5, 3)),
    ],
)
def test_text_and_values_are_converted(key: str, value: Any, expected: Any) -> None:
    got = getattr(parse(PredictConfig, {key: value}), key)
    assert got == expected
    assert type(got) is type(expected)


@pytest.mark.parametrize(
    ("cls", "key", "value", "says"),
    [
        (PredictConfig, "conf", 1.5, "conf=1.5: expected 0 to 1"),
        (PredictConfig, "conf", "high", "conf='high': expected a number"),
        (PredictConfig, "conf", float("nan"), "expected a number"),
        (PredictConfig, "batch", 0, "at least 1"),
        (PredictConfig, "batch", 1.5, "whole number"),
        (PredictConfig, "imgsz", "640,480,3", "imgsz='640,480,3': expected a whole number or 2 whole numbers"),
        (PredictConfig, "save", "maybe", "True or False"),
        (ValConfig, "metric", "cocoo", "did you mean 'coco'?"),
        (
            TrainConfig,
            "optimizer",
            "sdg",
            "RMSProp; did you mean 'SGD'?",
        ),
        (TrainConfig, "fraction", 0, "more than 0, at most 1"),
        (TrainConfig, "lr", 0.1, "unknown argument 'lr'; did you mean 'lr0'?"),
        (PredictConfig, "line_thickness", 3, "did you mean 'line_width'?"),
        (PredictConfig, "zzz", 3, "unknown argument 'zzz'; 'yolo help predict' lists them"),
        (PredictConfig, "classes", [0, -1], "at least 0"),
        (PredictConfig, "cofn", 0.5, "unknown argument 'cofn'; did you mean 'conf'?"),
    ],
)
def test_wrong_values_are_named(cls: type[Any], key: str, value: Any, says: str) -> None:
    with pytest.raises(UsageError) as error:
        parse(cls, {key: value})
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_given_names_the_arguments_that_the_user_set() -> None:
    config = parse(TrainConfig, {"lr0": 0.02})
    assert config.given == {"lr0"}
    assert dataclasses.replace(config, momentum=0.9).given == {"lr0"}


def test_a_cfg_file_gives_values_and_explicit_ones_win(tmp_path: Path) -> None:
    file = tmp_path / "args.yaml"
    file.write_text(yaml.safe_dump({"task": "pose", "mode": "train", "conf": 0.5, "iou": 0.6, "epochs": 7}))
    config = parse(PredictConfig, {"cfg": str(file), "iou": 0.4})
    assert (config.conf, config.iou) == (0.5, 0.4)


@pytest.mark.parametrize("text", ["cnof: 0.5\n", "conf: high\n", "embed: [1]\n", "- 1\n", "a: [\n"])
def test_a_bad_cfg_file_is_named(tmp_path: Path, text: str) -> None:
    file = tmp_path / "args.yaml"
    file.write_text(text)
    with pytest.raises(UsageError, match=r"args\.yaml"):
        parse(PredictConfig, {"cfg": str(file)})


def test_a_missing_cfg_file_is_named() -> None:
    with pytest.raises(UsageError, match=r"nowhere\.yaml"):
        parse(PredictConfig, {"cfg": "nowhere.yaml"})


def test_recorded_args_files_are_accepted(golden: Path) -> None:
    for file in sorted(golden.glob("trajectory-*-args.yaml")):
        config = parse(TrainConfig, {"cfg": str(file)})
        assert config.imgsz in (256, 320)
        assert config.fliplr == 0


@pytest.mark.parametrize("cls", MODES.values())
def test_defaults_pass_their_own_checks_and_survive_a_round_trip(cls: type[Any]) -> None:
    config = cls()
    again = parse(cls, yaml.safe_load(yaml.safe_dump(to_dict(config))))
    assert again == config
    assert set(arguments(cls)) == {f.name for f in dataclasses.fields(cls)} - {"given"}
