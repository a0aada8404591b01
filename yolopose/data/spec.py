"""A data set's YAML file: where its images are, what its classes and keypoints are called, where it is published."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from yolopose.data.fetch import Download, fetch
from yolopose.errors import PoseError, did_you_mean
from yolopose.files import read_yaml
from yolopose.geometry.keypoints import KeypointLayout
from yolopose.sources.suffixes import IMAGE_SUFFIXES, suffix_of

CONFIGS = Path(__file__).parent / "configs"
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class DataSpec:
    """What a data YAML says.

    `path` is the folder that the splits are relative to, `sources` the entries of each split as written there.
    `layout.flip` is None where the YAML has no flip_idx; `given_sigmas` tells whether it states kpt_oks_sigmas.
    `annotations` are the splits' COCO files, where the YAML names them: areas and crowds for val's metric=coco.
    """

    yaml: Path
    path: Path
    names: dict[int, str]
    layout: KeypointLayout
    given_sigmas: bool
    sources: dict[str, tuple[str, ...]]
    downloads: tuple[Download, ...] = ()
    annotations: dict[str, Path] = field(default_factory=dict)

    def split(self, name: str) -> list[Path]:
        """The images of a split in a fixed order, each once. Raises PoseError when there is none."""
        if name not in self.sources:
            there = ", ".join(self.sources)
            raise PoseError(f"{self.yaml}: no {name!r} split (it has {there}); add a line '{name}: folder'")
        images = list(dict.fromkeys(p for entry in self.sources[name] for p in self._images(name, entry)))
        if not images:
            raise PoseError(f"{self.yaml}: {name}: no images in {', '.join(self.sources[name])}")
        return images

    def _images(self, name: str, entry: str) -> Iterator[Path]:
        """The images of one entry: a folder (with those below it), a list file or an image."""
        place = self.path / entry
        if place.is_dir():
            yield from _walk(place)
        elif place.suffix == ".txt" and place.is_file():
            yield from _listed(place, self.path)
        elif place.is_file():
            yield place
        else:
            raise PoseError(f"{self.yaml}: {name}: {place} does not exist (path is relative to the YAML file)")


def load_data(file: str | Path, *, download: bool = True) -> DataSpec:
    """Read a data YAML: a file, or the name of one that comes with the package (`coco8-pose.yaml`).

    `path` in the YAML is relative to the YAML file itself. For a packaged YAML of a published data set it is
    relative to the folder `datasets` in the current directory. A data set that is not there yet is downloaded from
    the YAML's `download:` addresses first, unless `download` is False.

    Raises:
        PoseError: no such file, or an entry is missing or wrong; one line that names it.
    """
    yaml_file = _find(Path(file))
    values = read_yaml(yaml_file)
    try:
        spec = _spec(yaml_file, values)
        if download and not spec.path.exists():
            if spec.downloads:
                fetch(spec.path, spec.downloads)
            elif values.get("download"):
                raise PoseError(
                    f"{spec.path} does not exist, and download: holds code, which is never run; "
                    "list addresses of .zip files there, or fetch the data by hand"
                )
            elif yaml_file.parent == CONFIGS:
                raise PoseError(f"{spec.path} does not exist; the first lines of {yaml_file} say how to make it")
            else:
                raise PoseError(f"path {spec.path} does not exist (it is relative to the YAML file)")
    except PoseError as e:
        message = str(e)
        raise PoseError(message if str(yaml_file) in message else f"{yaml_file}: {message}") from None
    return spec


def _find(file: Path) -> Path:
    """The YAML file itself, or the packaged one of that name."""
    if file.is_file():
        return file.absolute()
    packaged = CONFIGS / file.with_suffix(".yaml").name
    if file.name == str(file) and packaged.is_file():
        return packaged
    known = sorted(p.stem for p in CONFIGS.glob("*.yaml"))
    hint = did_you_mean(file.stem, known, "'{}.yaml'") or f"; packaged ones: {', '.join(f'{k}.yaml' for k in known)}"
    raise PoseError(f"data={file}: no such file{hint}")


def _spec(file: Path, values: Mapping[str, Any]) -> DataSpec:
    """The checked entries of a data YAML."""
    published = file.parent == CONFIGS and not str(values.get("path")).startswith(".")
    base = Path.cwd() / "datasets" if published else file.parent
    named = {"val": values.get("val", values.get("validation"))}  # the field accepts either word
    entries = {name: named.get(name, values.get(name)) for name in SPLITS}
    sources = {name: _entries(name, entry) for name, entry in entries.items() if entry}
    if not sources:
        raise PoseError("no train, val or test entry")
    if "kpt_shape" not in values:
        raise PoseError("no kpt_shape entry; add for example 'kpt_shape: [17, 3]'")
    path = Path(os.path.normpath(base / Path(str(values.get("path") or ".")).expanduser()))
    annotations = values.get("annotations") or {}
    if not isinstance(annotations, dict):
        raise PoseError(f"annotations must map splits to COCO files, as in 'val: file.json', got {annotations!r}")
    return DataSpec(
        yaml=file,
        path=path,
        names=_names(values),
        layout=KeypointLayout.from_dict(values),
        given_sigmas=bool(values.get("kpt_oks_sigmas")),
        sources=sources,
        downloads=_downloads(values.get("download")),
        annotations={str(split): path / str(entry) for split, entry in annotations.items()},
    )


def _entries(name: str, entry: Any) -> tuple[str, ...]:
    """The places of a split: one text or a list of them."""
    listed = [entry] if isinstance(entry, str) else entry
    if isinstance(listed, list) and all(isinstance(e, str) for e in listed):
        return tuple(listed)
    raise PoseError(f"{name} must be a folder, a .txt list, or a list of those, got {entry!r}")


def _names(values: Mapping[str, Any]) -> dict[int, str]:
    """Class names by index, from `names` (list or mapping), else made from `nc`."""
    names, nc = values.get("names"), values.get("nc")
    if names is None and isinstance(nc, int):
        names = [f"class{i}" for i in range(nc)]
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or sorted(map(str, names)) != sorted(map(str, range(len(names)))) or not names:
        raise PoseError(f"names must list the classes or map 0, 1, … to them, got {values.get('names')!r}")
    if nc is not None and nc != len(names):
        raise PoseError(f"nc is {nc}, but names has {len(names)} entries")
    return {i: str(names.get(i, names.get(str(i)))) for i in range(len(names))}


def _downloads(value: Any) -> tuple[Download, ...]:
    """The addresses under `download:`; text that is no address (a script) counts as none."""
    listed = value if isinstance(value, list) else [value]
    downloads = []
    for entry in listed:
        fields = {"url": entry} if isinstance(entry, str) else entry
        if not isinstance(fields, dict) or not str(fields.get("url", "")).startswith(("http://", "https://")):
            return ()
        if unknown := set(fields) - {"url", "sha256", "into"}:
            raise PoseError(f"download: unknown key {unknown.pop()!r}; url, sha256 and into are known")
        downloads.append(Download(**{key: str(text).strip() for key, text in fields.items()}))
    return tuple(downloads) if all(len(d.url.split()) == 1 for d in downloads) else ()


def _walk(folder: Path) -> Iterator[Path]:
    """The images in a folder and below, sorted."""
    found = []
    for base, _, names in os.walk(folder, followlinks=True):
        found += [os.path.join(base, n) for n in names if suffix_of(n) in IMAGE_SUFFIXES]
    yield from map(Path, sorted(found))


def _listed(file: Path, root: Path) -> Iterator[Path]:
    """The images named in a text file, one a line; relative to that file, or else to the data set's folder."""
    for line in file.read_text(encoding="utf-8-sig").splitlines():
        if line.strip():
            image = file.parent / line.strip()
            yield Path(os.path.normpath(image if image.exists() else root / line.strip()))
