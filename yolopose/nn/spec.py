"""Model YAML files: find, read, check; nothing in them is ever evaluated."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yolopose.console import log
from yolopose.errors import MAX_SHOWN, PoseError, shown
from yolopose.files import read_yaml
from yolopose.geometry.keypoints import as_kpt_shape
from yolopose.limits import MAX_ARGUMENTS, MAX_CLASSES, MAX_LAYERS, MAX_MULTIPLE, MAX_ROWS, float_of, list_of

MODELS = Path(__file__).parent / "models"
SCALED_NAME = re.compile(r"(yolov?\d+)([nslmx])(?![a-z])", re.IGNORECASE)


@dataclass(frozen=True)
class LayerRow:
    """One row of `backbone` or `head`, scaled: `args` are the module's constructor arguments after the input channels.

    `given` is the row's `from` as written; `sources` are the absolute indices of those rows, -1 for the image. `where`
    names file, section and row for messages.
    """

    index: int
    given: tuple[int, ...]
    sources: tuple[int, ...]
    repeats: int
    module: str
    args: tuple[Any, ...]
    where: str

    def error(self, reason: str) -> PoseError:
        """The error that names this row."""
        return PoseError(f"{self.where}: {reason}")


def load_spec(name_or_path: str | Path) -> dict[str, Any]:
    """The model YAML as a dictionary, with `scale` taken from the name and `yaml_file`, the name itself.

    A file of exactly that name comes first; otherwise the scale letter is taken out and the file of that name is read,
    in the same folder or among those of the package: `yolov8s-pose.yaml` is `yolov8-pose.yaml` at scale s.

    Raises:
        PoseError: no such file, not YAML, or a key missing or malformed.
    """
    path = Path(name_or_path)
    letter, plain = SCALED_NAME.search(path.name), SCALED_NAME.sub(r"\1", path.name)
    file = next((f for f in (path, path.with_name(plain), MODELS / plain) if f.is_file()), None)
    if file is None:
        known = ", ".join(f.name.replace("yolov8", "yolov8{n,s,m,l,x}") for f in sorted(MODELS.glob("*.yaml")))
        raise PoseError(f"{path}: no such model YAML; the package has {known}")
    spec = read_yaml(file)
    spec["yaml_file"] = path.name
    if letter:
        spec["scale"] = letter[2].lower()
    return check_spec(spec)


def check_spec(spec: Mapping[str, Any]) -> dict[str, Any]:
    """A copy with `scale` resolved and the needed keys checked. Raises PoseError naming file and key."""
    spec = dict(spec)
    file = spec.get("yaml_file")  # for messages
    file = spec["yaml_file"] = file if isinstance(file, str) and 0 < len(file) <= MAX_SHOWN else "model YAML"
    for key in ("nc", "kpt_shape", "backbone", "head"):
        if spec.get(key) is None:
            raise PoseError(f"{file}: key '{key}' is missing")
    if not isinstance(spec["nc"], int) or isinstance(spec["nc"], bool) or not 1 <= spec["nc"] <= MAX_CLASSES:
        raise PoseError(f"{file}: nc must be a whole number of classes, got {shown(spec['nc'])}")
    try:
        spec["kpt_shape"] = list(as_kpt_shape(spec["kpt_shape"]))
        for key in ("depth_multiple", "width_multiple"):
            _check_multiple(spec.get(key, 1), key)
    except PoseError as error:
        raise PoseError(f"{file}: {error}") from None
    activation = spec.get("activation")
    if activation is not None and not (isinstance(activation, str) and activation == "nn.SiLU()"):
        raise PoseError(f"{file}: activation {shown(activation)} is not supported, only SiLU; remove the key")
    scales = spec.get("scales")
    if scales is not None and not isinstance(scales, dict):
        raise PoseError(f"{file}: scales must map a letter to [depth, width, max_channels], got {shown(scales)}")
    if scales:
        spec["scale"] = _choose_scale(spec.get("scale"), scales, file)
    return spec


def _check_multiple(value: Any, name: str) -> None:
    if float_of(value, name, 0, MAX_MULTIPLE) == 0:
        raise PoseError(f"{name} must be a number above 0")


def _choose_scale(scale: Any, scales: dict[Any, Any], file: str) -> Any:
    known = ", ".join(str(key)[:20] for key in itertools.islice(scales, 20) if isinstance(key, str | int))
    if scale is None or scale == "":
        scale = next(iter(scales))
        log.warning("%s names no scale; taking %s (of %s)", file, shown(scale).strip("'"), known)
    if not isinstance(scale, str | int) or scale not in scales:
        raise PoseError(f"{file}: scale {shown(scale)} is not among its scales {known}")
    row = scales[scale]
    try:
        depth, width, limit = list_of(row, "row", 3, 3)
        _check_multiple(depth, "depth")
        _check_multiple(width, "width")
        float_of(limit, "max_channels", 1, math.inf)
    except PoseError as error:
        raise PoseError(
            f"{file}: scale {shown(scale)} must be [depth, width, max_channels], got {shown(row)} ({error})"
        ) from None
    return scale


def scale_factors(spec: Mapping[str, Any]) -> tuple[float, float, float]:
    """(depth, width, max_channels): the chosen scale's row, or the older keys `depth_multiple` and `width_multiple`."""
    if spec.get("scales"):
        depth, width, limit = spec["scales"][spec["scale"]]
        return depth, width, limit
    return spec.get("depth_multiple", 1.0), spec.get("width_multiple", 1.0), math.inf


def scale_channels(channels: float, width: float, limit: float) -> int:
    """Channels times `width`, at most `limit` before that, rounded up to a multiple of 8."""
    return math.ceil(min(channels, limit) * width / 8) * 8


def read_rows(spec: Mapping[str, Any]) -> list[LayerRow]:
    """The rows of a checked specification, with sources made absolute, repeats scaled and names in arguments replaced.

    Raises:
        PoseError: a row that is not [from, repeats, module, arguments], or a `from` that is not an earlier row.
    """
    depth = scale_factors(spec)[0]
    words = {"nc": spec["nc"], "kpt_shape": spec["kpt_shape"], "None": None}  # may stand among the arguments
    rows: list[LayerRow] = []
    for section in ("backbone", "head"):
        if not isinstance(spec[section], list):
            raise PoseError(f"{spec['yaml_file']}: {section} must be a list of rows")
        for place, row in enumerate(spec[section]):
            where = f"{spec['yaml_file']}: {section} row {place} {shown(row)}"
            if len(rows) == MAX_ROWS:
                raise PoseError(f"{where}: more than {MAX_ROWS} rows")
            rows.append(_read_row(row, len(rows), depth, where, words))
    if sum(row.repeats for row in rows) > MAX_LAYERS:
        raise PoseError(f"{spec['yaml_file']}: more than {MAX_LAYERS} rows, repeats counted")
    return rows


def _read_row(row: Any, index: int, depth: float, where: str, words: Mapping[str, Any]) -> LayerRow:
    if not (isinstance(row, list | tuple) and len(row) == 4 and isinstance(row[3], list | tuple)):
        raise PoseError(f"{where}: a row is [from, repeats, module, [arguments]]")
    sources, repeats, module, args = row
    sources = [sources] if isinstance(sources, int) else sources
    whole_numbers = isinstance(sources, list | tuple) and all(type(s) is int for s in sources[:MAX_ARGUMENTS])
    if not whole_numbers or not 1 <= len(sources) <= MAX_ARGUMENTS:
        raise PoseError(f"{where}: 'from' must be a row number or a list of row numbers")
    absolute = tuple(s + index if s < 0 else s for s in sources)
    for source, given in zip(absolute, sources, strict=True):
        if source >= index or source < (-1 if index == 0 else 0):
            raise PoseError(f"{where}: 'from' {shown(given)} is not an earlier row; this is row {index} of the network")
    if type(repeats) is not int or not 1 <= repeats <= MAX_ROWS:
        raise PoseError(f"{where}: repeats must be a whole number of at least 1 and at most {MAX_ROWS}")
    if not isinstance(module, str):
        raise PoseError(f"{where}: module must be a name, got {shown(module)}")
    if not all(map(_is_plain, args)) or len(args) > MAX_ARGUMENTS:
        raise PoseError(f"{where}: arguments must be at most {MAX_ARGUMENTS} numbers, words or short lists of numbers")
    return LayerRow(
        index=index,
        given=tuple(sources),
        sources=absolute,
        repeats=max(round(repeats * depth), 1) if repeats > 1 else repeats,
        module=module,
        args=tuple(words.get(a, a) if isinstance(a, str) else a for a in args),
        where=where,
    )


def _is_plain(argument: Any) -> bool:
    """Whether a row's argument is a word, a number that fits 64 bits or a short list of numbers."""
    if isinstance(argument, list | tuple):
        return len(argument) <= MAX_ARGUMENTS and all(isinstance(n, int | float) and _is_plain(n) for n in argument)
    if isinstance(argument, int):
        return argument.bit_length() < 64
    return argument is None or isinstance(argument, str | float)
