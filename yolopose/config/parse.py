"""Names and values, given in Python, typed or read from a file → a checked configuration of one mode."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from yolopose.config.args import MODES
from yolopose.config.schema import arguments
from yolopose.config.values import convert
from yolopose.console import log
from yolopose.errors import PoseError, UsageError, did_you_mean, shown
from yolopose.files import read_yaml

Config = TypeVar("Config")

# Arguments of the field's other tasks and of services that do not exist here: accepted, so that an args.yaml or a
# habitual command line keeps working, and named once.
INERT = frozenset(
    ("angle", "augment", "auto_augment", "cls_pw", "copy_paste", "copy_paste_mode", "crop_fraction", "cutmix", "dnn",
     "embed", "end2end", "erasing", "mask_ratio", "overlap_mask", "profile", "retina_masks", "rle", "save_hybrid",
     "tracker", "visualize")
)  # fmt: skip
ALIASES = {  # names that other programs use
    "batch_size": "batch", "conf_thres": "conf", "confidence": "conf", "hide_conf": "show_conf",
    "hide_labels": "show_labels", "img": "imgsz", "img_size": "imgsz", "image_size": "imgsz", "images": "source",
    "input": "source", "iou_thres": "iou", "learning_rate": "lr0", "line_thickness": "line_width", "lr": "lr0",
    "max_epochs": "epochs", "num_epochs": "epochs", "size": "imgsz", "threshold": "conf", "view_img": "show",
    "weights": "model",
}  # fmt: skip
NOT_ARGUMENTS = frozenset({"task", "mode", "cfg"})


def parse(cls: type[Config], values: Mapping[str, Any]) -> Config:
    """A checked `cls` from names and values (Python values, or text as typed on a command line).

    `cfg=FILE` reads further values from a YAML file; the ones given beside it win. Keys that belong to other modes are
    accepted from the file only, where one args.yaml serves all modes.

    Raises:
        UsageError: unknown key (with the nearest known one), wrong type, value out of range, unreadable cfg file.
    """
    known = arguments(cls)
    given: dict[str, Any] = {}
    inert: list[str] = []
    for source, key, value in _merged(values):
        if key in known:
            given[key] = convert(known[key], value)
        elif key in INERT:
            inert.append(key)
        elif source is None and key not in NOT_ARGUMENTS:
            raise UsageError(unknown_key(key, known))
        elif source is not None and key not in _every_key() | NOT_ARGUMENTS:
            raise UsageError(f"{source}: {unknown_key(key, known)}")
    if inert:
        log.info(f"accepted without effect on pose models: {', '.join(sorted(set(inert)))}")
    return cls(**given, given=frozenset(given))  # type: ignore[call-arg]


def _merged(values: Mapping[str, Any]) -> Iterable[tuple[Path | None, str, Any]]:
    """(file or None, key, value): the entries of `cfg` first, then those given directly."""
    if values.get("cfg") not in (None, "", "None"):
        path = Path(str(values["cfg"]))
        for key, value in read_cfg(path).items():
            if key not in values:
                yield path, key, value
    for key, value in values.items():
        yield None, key, value


def read_cfg(path: Path) -> dict[str, Any]:
    """The entries of a YAML file of arguments. Raises UsageError when it cannot be read or is no mapping."""
    try:
        return read_yaml(path)
    except PoseError as e:
        raise UsageError(f"cfg={e}") from None


def _every_key() -> frozenset[str]:
    """The arguments of all modes."""
    return frozenset().union(*(arguments(cls) for cls in MODES.values()))


def unknown_key(key: str, known: Iterable[str]) -> str:
    """One line for a key that does not exist, with the nearest one that does."""
    hint = did_you_mean(ALIASES.get(key.lower(), key), known) or "; 'yolo cfg' lists them all"
    return f"unknown argument {shown(key)}{hint}"
