"""Arguments of Ultralytics that are not ours: accepted, left out or refused, each by its rule."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from yolopose.config import MODES, ExportConfig, PredictConfig, TrainConfig, ValConfig, arguments, parse
from yolopose.config.foreign import FOREIGN
from yolopose.errors import UsageError

# The defaults of Ultralytics 8.3.75 as its documentation lists them, of all modes together.
DEFAULTS = """
task: pose
mode: train
model:
data:
epochs: 100
time:
patience: 100
batch: 16
imgsz: 640
save: true
save_period: -1
cache: false
device:
workers: 8
project:
name:
exist_ok: false
pretrained: true
optimizer: auto
verbose: true
seed: 0
deterministic: true
single_cls: false
rect: false
cos_lr: false
close_mosaic: 10
resume: false
amp: true
fraction: 1.0
profile: false
freeze:
multi_scale: false
overlap_mask: true
mask_ratio: 4
dropout: 0.0
val: true
split: val
save_json: false
save_hybrid: false
conf:
iou: 0.7
max_det: 300
half: false
dnn: false
plots: true
source:
vid_stride: 1
stream_buffer: false
visualize: false
augment: false
agnostic_nms: false
classes:
retina_masks: false
embed:
show: false
save_frames: false
save_txt: false
save_conf: false
save_crop: false
show_labels: true
show_conf: true
show_boxes: true
line_width:
format: torchscript
keras: false
optimize: false
int8: false
dynamic: false
simplify: true
opset:
workspace:
nms: false
lr0: 0.01
copy_paste: 0.0
copy_paste_mode: flip
auto_augment: randaugment
erasing: 0.4
crop_fraction: 1.0
cfg:
tracker: botsort.yaml
"""


@pytest.mark.parametrize("mode", ["predict", "val", "train", "export"])
def test_args_yaml_of_ultralytics_is_read_in_every_mode(
    mode: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "args.yaml"
    file.write_text(DEFAULTS)
    config = parse(MODES[mode], {"cfg": str(file), "model": "x.pt"})
    assert config.model == "x.pt"
    assert config.given <= {
        "model",
        "save",
        "format",
        "batch",
        "rect",
        "imgsz",
    }  # as given: other defaults than this mode's
    said = capsys.readouterr()
    assert said.out + said.err == ""


@pytest.mark.parametrize("mode", ["predict", "val", "train", "export"])
@pytest.mark.parametrize("value", [None, False, "None", "False", "", 0, 0.0, []])
def test_foreign_features_switched_off_are_accepted_silently(
    mode: str, value: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    names = set(FOREIGN) - set(arguments(MODES[mode]))
    parse(MODES[mode], dict.fromkeys(names, value))
    said = capsys.readouterr()
    assert said.out + said.err == ""


@pytest.mark.parametrize(
    ("cls", "key", "value", "says"),
    [
        (PredictConfig, "embed", [21], "embed=[21]: not implemented in yolopose (feature vectors instead of results); "
         "leave it out"),
        (PredictConfig, "augment", "True", "augment='True': not implemented"),
        (PredictConfig, "visualize", True, "visualize=True: not implemented"),
        (PredictConfig, "tracker", "bytetrack.yaml", "predict does not do this (identities over the frames"),
        (PredictConfig, "quantize", 16, "use half=True for 16 bits"),
        (ValConfig, "augment", True, "not implemented"),
        (TrainConfig, "cutmix", 0.3, "cutmix=0.3: not implemented"),
        (TrainConfig, "trainer", object, "trainer=type: not implemented"),
        (ExportConfig, "fraction", 0.1, "fraction=0.1: not implemented"),
    ],
)  # fmt: skip
def test_foreign_arguments_that_would_change_poses_are_refused(cls: type[Any], key: str, value: Any, says: str) -> None:
    with pytest.raises(UsageError) as error:
        parse(cls, {key: value})
    assert says in str(error.value)


def test_arguments_of_other_modes_take_one_warning(capsys: pytest.CaptureFixture[str]) -> None:
    parse(PredictConfig, {"epochs": 3, "int8": True, "cutmix": 0.5, "nms": False, "format": "onnx"})
    assert capsys.readouterr().err == "WARNING: predict does not take cutmix, epochs, int8: left out\n"
    parse(PredictConfig, {"epochs": 3, "verbose": False})
    assert capsys.readouterr().err == ""


def test_arguments_without_effect_are_named_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    parse(PredictConfig, {"dnn": True, "retina_masks": True, "mask_ratio": 4})
    assert capsys.readouterr().out == "no effect on YOLOv8-pose models, in Ultralytics too: dnn, retina_masks\n"


def test_foreign_arguments_are_not_ours_in_the_modes_they_change() -> None:
    for row in FOREIGN.values():
        assert set(row.modes) <= MODES.keys()
        assert not any(row.name in arguments(MODES[mode]) for mode in row.modes)


def test_given_in_an_argument_file_names_the_arguments_that_the_user_set(tmp_path: Path) -> None:
    file = tmp_path / "args.yaml"
    values = {"lr0": 0.01, "momentum": 0.937, "epochs": 7}
    file.write_text(yaml.safe_dump(values))
    assert parse(TrainConfig, {"cfg": str(file)}).given == {"epochs"}
    file.write_text(yaml.safe_dump(values | {"given": ["lr0", "epochs"]}))
    assert parse(TrainConfig, {"cfg": str(file)}).given == {"epochs", "lr0"}
    assert parse(TrainConfig, {"cfg": str(file), "momentum": 0.937}).given == {"epochs", "lr0", "momentum"}


def test_none_is_the_default() -> None:
    config = parse(PredictConfig, {"conf": None, "imgsz": None, "save": None, "device": None})
    assert config == PredictConfig()
    assert config.given == frozenset()
