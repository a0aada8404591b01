"""Texts of `yolo help`, `yolo MODE help`, `yolo cfg`, `yolo formats` and `yolo checks`."""

from __future__ import annotations

from collections.abc import Iterator

from yolopose.config import MODES, Argument, arguments
from yolopose.config.groups import grouped
from yolopose.version import __version__
from yolopose.weights import DEFAULT, FINDS

OVERVIEW = """\
yolopose {version}: find people, faces and keypoints of your own with YOLOv8-pose (Apache-2.0)

usage: yolo MODE name=value …         --name value and --name=value mean the same

modes
{modes}

more
  yolo help MODE         what a mode does, examples, and its arguments
  yolo formats           the formats that export writes and predict reads
  yolo cfg               all arguments of all modes
  yolo checks            versions and devices, for a bug report
  yolo completion SHELL  completion for bash, zsh or fish
  yolo version           {version}

examples
{examples}

exit codes: 0 done, also when nothing was found; 1 something failed; 2 wrong command or argument"""
EXAMPLES = {
    "predict": (
        f"yolo predict source=photo.jpg  # {FINDS[DEFAULT]}, by the bundled model",
        "yolo predict model=yolov8n-pose.pt source='shots/*.jpg' conf=0.4 save_txt",
        "yolo predict model=best.onnx source=clip.mp4 save=False show",
    ),
    "track": (
        "yolo track source=street.mp4 model=yolov8n-pose.pt  # ids, trails, runs/pose/track/street.mp4",
        "yolo track source=gait.mp4 model=best.onnx smooth=offline save_tracks=gait.csv",
        "yolo track source=0 tracker=bytetrack show save=False",
    ),
    "val": (
        "yolo val model=best.pt data=my.yaml",
        "yolo val model=best.onnx data=my.yaml split=test metric=coco",
    ),
    "train": (
        "yolo train data=sample-pose.yaml model=yolov8n-pose.yaml epochs=3 imgsz=320",
        "yolo train data=my.yaml model=yolov8n-pose.pt epochs=100 batch=32 device=0",
        "yolo train resume model=runs/pose/train/weights/last.pt",
    ),
    "export": (
        "yolo export model=best.pt format=onnx dynamic",
        "yolo export model=best.pt format=openvino int8 data=my.yaml",
    ),
    "verify": ("yolo verify best.pt best.onnx",),
    "benchmark": ("yolo benchmark model=best.pt data=my.yaml",),
    "doctor": ("yolo doctor data=my.yaml",),
    "convert": (
        "yolo convert coco=person_keypoints.json images=val2017 out=my-data",
        "yolo convert data=my.yaml out=labels.json",
    ),
    "label": (
        "yolo label model=best.pt source=photos out=my-data",
        "yolo label model=best.pt data=boxes.yaml what=points out=with-points",
    ),
    "eval-widerface": ("yolo eval-widerface pred=predictions gt=ground_truth",),
    "eval-tracks": (
        "yolo eval-tracks pred=tracks.csv gt=truth.csv",
        "yolo eval-tracks pred=results gt=MOT17/train out=figures.json",
        "yolo eval-tracks pred=clip.txt gt=by-hand.txt every=5",
    ),
}


def overview() -> str:
    """The first page."""
    modes = "\n".join(f"  {mode:<15} {summary(mode)}" for mode in MODES)
    examples = "\n".join(f"  {EXAMPLES[mode][0]}" for mode in ("predict", "train", "val", "export"))
    return OVERVIEW.format(version=__version__, modes=modes, examples=examples)


def summary(mode: str) -> str:
    """The one-line description of a mode."""
    return (MODES[mode].__doc__ or "").splitlines()[0]


def of_mode(mode: str) -> str:
    """The page of one mode: description, examples, arguments by group."""
    lines = [f"yolo {mode} name=value …", "", f"  {summary(mode)}", "", "examples"]
    lines += [f"  {example}" for example in EXAMPLES[mode]]
    lines += ["", f"  {'argument':<16} {'default':<9} meaning", *_groups(mode)]
    return "\n".join([*lines, "", "cfg=FILE reads further arguments from a YAML file; those of the command line win."])


def all_arguments() -> str:
    """The arguments of all modes."""
    return "\n\n".join("\n".join([mode, *_groups(mode)]) for mode in MODES)


def _groups(mode: str) -> Iterator[str]:
    """Lines of a mode's arguments under the titles of their groups."""
    for title, group in grouped(arguments(MODES[mode])).items():
        yield title
        yield from (f"  {a.name:<16} {a.default!s:<9} {a.doc}{allowed(a)}" for a in group)


def allowed(argument: Argument) -> str:
    """The choices of an argument in parentheses, or "" when its documentation names them all."""
    words = [str(choice) for choice in argument.choices]
    return f" ({', '.join(words)})" if any(word not in argument.doc for word in words) else ""


def formats() -> str:
    """Table of export formats: their files and arguments."""
    from yolopose.formats.table import FORMATS

    lines = [f"  {'':<16} {'format=':<12} {'file':<24} arguments"]
    for row in FORMATS:
        taken = " ".join(sorted(row.options)) if row.export else "(the checkpoint itself)"
        lines.append(f"  {row.title:<16} {row.argument:<12} {'name' + row.suffix:<24} {taken}")
    return "\n".join(
        [*lines, "", "All take imgsz, data, verify and out; nms also conf, iou, max_det and agnostic_nms."]
    )


def checks() -> str:
    """Versions and devices, as a bug report needs them."""
    import importlib.metadata
    import platform

    lines = [f"yolopose {__version__}", f"Python {platform.python_version()} on {platform.platform()}"]
    for name in ("numpy", "opencv-python-headless", "pillow", "onnxruntime", "onnx", "torch", "matplotlib"):
        try:
            lines.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            lines.append(f"{name} not installed")
    return "\n".join([*lines, _devices()])


def _devices() -> str:
    """CPU cores and GPUs that torch can use."""
    import os

    cores = f"{os.cpu_count()} CPU cores"
    try:
        import torch
    except ModuleNotFoundError:
        return f"devices: {cores} (a GPU needs torch: pip install 'yolopose[train]')"
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return "devices: " + ", ".join([cores, *gpus])
