"""Data YAML files: image folders, class and keypoint names, download addresses."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from yolopose.data.fetch import Download, fetch
from yolopose.errors import PoseError, did_you_mean, one_line, shown
from yolopose.files import read_text, read_yaml, walk
from yolopose.geometry.keypoints import KeypointLayout
from yolopose.limits import MAX_CLASSES, MAX_FOLDERS, MAX_LIST_BYTES, MAX_TEXT, int_of, is_unicode
from yolopose.metadata import class_names
from yolopose.sources.files import IMAGE_SUFFIXES, suffix_of

CONFIGS = Path(__file__).parent / "configs"
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class DataSpec:
    """The contents of a data YAML.

    `path` is the folder that the splits are relative to, `sources` the entries of each split as written in the file.
    `layout.flip` is None if the YAML has no flip_idx; `given_sigmas` is True if it has kpt_oks_sigmas. `annotations`
    are the COCO files of splits, if given: areas and crowds for val's metric=coco. `partial` names the images in which
    not every instance is labelled: beginnings of file names, and folders (with a slash).
    """

    yaml: Path
    path: Path
    names: dict[int, str]
    layout: KeypointLayout
    given_sigmas: bool
    sources: dict[str, tuple[str, ...]]
    downloads: tuple[Download, ...] = ()
    annotations: dict[str, Path] = field(default_factory=dict)
    partial: tuple[str, ...] = ()
    by_model: Path | None = None  # says which model made the labels

    def is_partial(self, image: Path) -> bool:
        """Whether not every instance in this image may be labelled."""
        return any(self._names(entry, image) for entry in self.partial)

    def unused_partial(self, images: Sequence[Path]) -> str | None:
        """The first entry of `partial` that names none of the images, None if there is none."""
        return next((entry for entry in self.partial if not any(self._names(entry, image) for image in images)), None)

    def _names(self, entry: str, image: Path) -> bool:
        if "/" in entry:
            return image.is_relative_to(os.path.normpath(self.path / entry))
        return image.name.startswith(entry)

    def split(self, name: str) -> list[Path]:
        """The images of a split in a fixed order, without duplicates. Raises PoseError if there are none."""
        if name not in self.sources:
            there = ", ".join(self.sources)
            raise PoseError(f"{self.yaml}: no {name!r} split (it has {there}); add a line '{name}: folder'")
        images = list(dict.fromkeys(p for entry in self.sources[name] for p in self._images(name, entry)))
        if not images:
            raise PoseError(f"{self.yaml}: {name}: no images in {', '.join(self.sources[name])}")
        return images

    def _images(self, name: str, entry: str) -> Iterator[Path]:
        """The images of one entry: a folder (with its subfolders), a list file or an image."""
        place = self.path / entry
        if os.path.isdir(place):
            yield from _walk(place)
        elif place.suffix == ".txt" and os.path.isfile(place):
            yield from _listed(place, self.path)
        elif os.path.isfile(place):
            yield place
        else:
            reason = "is neither a file nor a folder" if os.path.lexists(place) else "does not exist"
            raise PoseError(f"{self.yaml}: {name}: {one_line(place)} {reason} (path is relative to the YAML file)")


def load_data(file: str | Path, *, data_dir: str | Path | None = None) -> DataSpec:
    """Read a data YAML: a file, or the name of one in the package (`coco8-pose.yaml`).

    `path` in the YAML is relative to the YAML file. For a packaged YAML of a published data set it is relative to the
    folder `datasets` in the current directory. If that folder does not exist, the data set is searched in `data_dir`
    under the last name of its path. If it is not there either, it is downloaded from the YAML's `download:`
    addresses: to `data_dir` if given, otherwise only below the YAML's folder or the current directory.

    Raises:
        PoseError: no such file, or an entry is missing or wrong; the line names it.
    """
    yaml_file = _find(Path(file))
    values = read_yaml(yaml_file)
    try:
        path = _path(yaml_file, values)
        if data_dir is not None and not os.path.exists(path):
            path = Path(os.path.abspath(data_dir)) / path.name
        spec = _spec(yaml_file, values, path)
        if not os.path.exists(path):
            _download(spec, values, data_dir)
    except PoseError as e:
        raise PoseError(f"{e}" if str(yaml_file) in str(e) else f"{yaml_file}: {e}") from None
    return spec


def _download(spec: DataSpec, values: Mapping[str, Any], data_dir: str | Path | None) -> None:
    """Download a data set that does not exist. Raises PoseError if it has no addresses, or the download fails."""
    packaged = spec.yaml.parent == CONFIGS
    if spec.downloads:
        cwd = Path.cwd()  # a link `datasets` is followed only for packaged YAMLs
        within = [cwd, cwd / "datasets"] if packaged else [cwd, spec.yaml.parent]
        fetch(spec.path, spec.downloads, [Path(data_dir)] if data_dir is not None else within)
    elif values.get("download"):
        raise PoseError(
            f"{one_line(spec.path)} does not exist, and download: holds code, which is never run; "
            "list addresses of .zip files there, or download the data by hand"
        )
    elif packaged:
        raise PoseError(f"{one_line(spec.path)} does not exist; the first lines of {spec.yaml} say how to make it")
    else:
        raise PoseError(f"path {one_line(spec.path)} does not exist (it is relative to the YAML file)")


def _find(file: Path) -> Path:
    """The YAML file, or the packaged one of that name. Raises PoseError if there is neither."""
    if os.path.isfile(file):
        return file.absolute()
    if file.name == str(file) and os.path.isfile(packaged := CONFIGS / file.with_suffix(".yaml").name):
        return packaged
    known = sorted(p.stem for p in CONFIGS.glob("*.yaml"))
    hint = did_you_mean(file.stem, known, "'{}.yaml'") or f"; packaged ones: {', '.join(f'{k}.yaml' for k in known)}"
    raise PoseError(f"data={one_line(file)}: no such file{hint}")


def _path(file: Path, values: Mapping[str, Any]) -> Path:
    """The folder of the data set, from the entry `path`."""
    given = _text("path", values.get("path") or ".")
    published = file.parent == CONFIGS and not given.startswith(".")
    base = Path.cwd() / "datasets" if published else file.parent
    try:
        return Path(os.path.normpath(base / Path(given).expanduser()))
    except RuntimeError:
        raise PoseError(f"path {shown(given)}: no user of that name, and no home folder") from None


def _spec(file: Path, values: Mapping[str, Any], path: Path) -> DataSpec:
    """Check the entries of a data YAML."""
    entries = {name: values.get(name) for name in SPLITS}
    entries["val"] = values.get("val", values.get("validation"))  # Ultralytics 8.3 accepts both names
    sources = {name: _entries(name, entry) for name, entry in entries.items() if entry}
    if not sources:
        raise PoseError("no train, val or test entry")
    if "kpt_shape" not in values:
        raise PoseError("no kpt_shape entry; add for example 'kpt_shape: [17, 3]'")
    return DataSpec(
        yaml=file,
        path=path,
        names=_names(values),
        layout=KeypointLayout.from_dict(values),
        given_sigmas=bool(values.get("kpt_oks_sigmas")),
        sources=sources,
        downloads=_downloads(values.get("download")),
        annotations={split: path / file for split, file in _annotations(values.get("annotations") or {}).items()},
        partial=_partial(values.get("partial"), path),
        by_model=path / _text("labels_by_model", by) if (by := values.get("labels_by_model")) else None,
    )


def _partial(entry: Any, path: Path) -> tuple[str, ...]:
    """The entry `partial`: a text or a list of texts; True is every image."""
    if entry is None or isinstance(entry, bool):
        return ("",) if entry else ()
    found = tuple(
        text.replace("\\", "/")
        for text in _entries("partial", entry, "the beginning of file names (numbers in quotes), a folder/")
    )
    if any(not text for text in found):
        raise PoseError("partial: an empty text; 'partial: true' stands for every image")
    missing = next((text for text in found if "/" in text and path.exists() and not (path / text).is_dir()), None)
    if missing is not None:
        raise PoseError(f"partial: {shown(missing)} has a slash and is no folder in {one_line(path)}")
    return found


def _annotations(entry: Any) -> dict[str, str]:
    """The COCO files by split."""
    if not isinstance(entry, dict):
        raise PoseError(f"annotations must map splits to COCO files, as in 'val: file.json', got {shown(entry)}")
    return {_text("annotations", split): _text("annotations", file) for split, file in entry.items()}


def _text(name: str, value: Any) -> str:
    """A path or name as text. Raises PoseError for anything that cannot be one."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise PoseError(f"{name} must be text, got {shown(value)}")
    whole = not isinstance(value, str) and value == value // 1
    text = str(int_of(value, name, 0, 1 << 53) if whole else value)
    if "\0" in text or len(text) > MAX_TEXT or not is_unicode(text):
        raise PoseError(f"{name} is no usable text: {shown(text)}")
    return text


def _entries(name: str, entry: Any, what: str = "a folder, a .txt list") -> tuple[str, ...]:
    """The entries of a split, or of something else: a text or a list of texts."""
    listed = [entry] if isinstance(entry, str) else entry
    if isinstance(listed, list) and all(isinstance(e, str) for e in listed):
        return tuple(_text(name, e) for e in listed)
    raise PoseError(f"{name} must be {what}, or a list of those, got {shown(entry)}")


def _names(values: Mapping[str, Any]) -> dict[int, str]:
    """Class names by index, from `names` (list or mapping), otherwise generated from `nc`."""
    names, nc = values.get("names"), values.get("nc")
    if nc is not None:
        nc = int_of(nc, "nc", 1, MAX_CLASSES)
    if names is None and nc is not None:
        return {i: f"class{i}" for i in range(nc)}
    try:
        found = class_names(names)
    except PoseError as e:
        raise PoseError(f"names must list the classes or map 0, 1, … to them: {e}") from None
    if nc is not None and nc != len(found):
        raise PoseError(f"nc is {nc}, but names has {len(found)} entries")
    return found


def _downloads(value: Any) -> tuple[Download, ...]:
    """The addresses under `download:`; none if any entry is not an address (but a script)."""
    downloads = []
    for entry in value if isinstance(value, list) else [value]:
        fields = {"url": entry} if isinstance(entry, str) else entry
        url = fields.get("url") if isinstance(fields, dict) else None
        if not isinstance(url, str) or not url.startswith(("http://", "https://")) or len(url.split()) != 1:
            return ()
        if unknown := set(fields) - {"url", "sha256", "into"}:
            raise PoseError(f"download: unknown key {shown(unknown.pop())}; url, sha256 and into are known")
        given = {key: _text(f"download: {key}", text).strip() for key, text in fields.items() if text is not None}
        downloads.append(Download(**given))
    return tuple(downloads)


def _walk(folder: Path) -> Iterator[Path]:
    """The images in a folder and its subfolders, sorted.

    Links are followed, except to a parent folder (a cycle, or the whole disk); each folder is visited once.
    """
    found: list[str] = []
    above = Path(os.path.realpath(folder)).parents
    for count, (base, _, names) in enumerate(walk(folder, without=above), start=1):
        if count > MAX_FOLDERS:  # for example the whole disk
            raise PoseError(f"{one_line(folder)}: more than {MAX_FOLDERS} folders; name the one that the images are in")
        found += [os.path.join(base, n) for n in names if suffix_of(n) in IMAGE_SUFFIXES]
    yield from map(Path, sorted(found))


def _listed(file: Path, root: Path) -> Iterator[Path]:
    """The images named in a text file, one per line; relative to that file, or else to the data set's folder."""
    text = read_text(file, MAX_LIST_BYTES, "not a list of images in UTF-8")
    if "\0" in text:
        raise PoseError(f"{file}: not a list of images, one a line")
    for line in text.splitlines():
        if line.strip():
            image = file.parent / line.strip()
            yield Path(os.path.normpath(image if os.path.exists(image) else root / line.strip()))
