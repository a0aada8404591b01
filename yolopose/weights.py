"""Where a model's file comes from: the path named, the package, the cache, or one download of known weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from yolopose.console import log
from yolopose.download import Unreachable, cache_dir, download, read_sum, sum_of
from yolopose.errors import PoseError, did_you_mean
from yolopose.limits import MAX_WEIGHTS

RELEASE = "https://github.com/ultralytics/assets/releases/download/v8.3.0/"

# Weights that are published there, and their sha256 where it is known. Where it is not, the sum of the first download
# is logged and kept beside the file, and another file is refused from then on; a wrong file can do no harm in any
# case, since checkpoints are read as data.
KNOWN: dict[str, str | None] = {
    "yolov8n-pose.pt": None,
    "yolov8s-pose.pt": None,
    "yolov8m-pose.pt": None,
    "yolov8l-pose.pt": None,
    "yolov8x-pose.pt": None,
    "yolov8x-pose-p6.pt": None,
}
MODEL_SUFFIXES = (".onnx", ".pt")  # of bundled files, the default model first: it also runs without torch


@dataclass(frozen=True)
class Places:
    """Where models are looked for: None is the package's own folder and the user's cache."""

    assets: Path | None = None
    cache: Path | None = None
    release: str = RELEASE

    def asset(self, name: str) -> Path:
        """Where a bundled file of that name would be."""
        return (self.assets or Path(__file__).parent / "assets") / name

    def cached(self, name: str) -> Path:
        """Where a downloaded file of that name would be."""
        return (self.cache or cache_dir()) / name


def bundled(places: Places | None = None) -> list[Path]:
    """The model files that came with the package, the default one first."""
    files = (places or Places()).asset("").rglob("*")
    models = [file for file in files if file.suffix in MODEL_SUFFIXES]
    return sorted(models, key=lambda file: (MODEL_SUFFIXES.index(file.suffix), file.name))


def default_model(places: Places | None = None, suffix: str = "") -> Path:
    """The model, with this suffix, to take when none is named. Raises PoseError when none came with the package."""
    models = [file for file in bundled(places) if file.name.endswith(suffix)]
    if not models:
        raise PoseError(f"no model is named and none is bundled; name a file, or one of {', '.join(KNOWN)}")
    return models[0]


def find(name: str | Path, places: Places | None = None, *, progress: bool = True) -> Path:
    """The file of a model: an existing path, a bundled file, a downloaded one, or a known name, downloaded now.

    `.pt` may be left out.

    Raises:
        PoseError: no such file and no such name; or the download failed, and then it says what is bundled.
    """
    places = places or Places()
    plain = Path(f"{name}.pt")
    if not Path(name).suffix and plain.is_file() and not Path(name).is_file():
        return plain
    if Path(name).exists():
        return Path(name)
    word = Path(name).name if Path(name).suffix else f"{Path(name).name}.pt"
    local = {file.name: file for file in bundled(places)}
    if Path(name).parent != Path():  # a folder was named, so nothing else is meant
        hint = f"; the bare name {word} would be found" if word in local or word in KNOWN else ""
        raise PoseError(f"{name}: no such file{hint}")
    if word in local:
        return local[word]
    if places.cached(word).is_file():
        return _unchanged(places.cached(word))
    if word in KNOWN:
        return _fetch(word, places, progress)
    raise PoseError(f"{name}: no such file{did_you_mean(word, [*local, *KNOWN], '{}')}")


def _fetch(name: str, places: Places, progress: bool) -> Path:
    expected, first = KNOWN[name], _first_sum(places.cached(name))
    log.info("%s: weights by Ultralytics under AGPL-3.0 (https://ultralytics.com/license), downloaded once", name)
    try:
        path = download(
            places.release + name,
            places.cached(name),
            sha256=expected,
            first_sum=first,
            most=MAX_WEIGHTS,
            progress=progress,
        )
    except Unreachable as error:
        ready = ", ".join(file.name for file in bundled(places)) or "nothing"
        raise PoseError(
            f"{name}: {error}; without a network there is what is bundled ({ready}), or a file you name"
        ) from None
    if not _is_checkpoint(path):  # e.g. the page of a captive portal
        path.unlink()
        first.unlink(missing_ok=True)
        raise PoseError(f"{name}: {places.release} did not send a checkpoint; nothing was kept")
    if expected is None:
        log.info("%s: saved as %s, sha256 %s", name, path, sum_of(path))
    return path


def _first_sum(file: Path) -> Path:
    """Where the sha256 of the first download of a file is kept."""
    return file.with_name(f"{file.name}.sha256")


def _unchanged(file: Path) -> Path:
    """A downloaded file, if it is still what was downloaded first. Raises PoseError when it is not."""
    known = read_sum(_first_sum(file))
    if known is not None and sum_of(file) != known:
        raise PoseError(f"{file}: changed since it was downloaded; delete it to download it again")
    return file


def _is_checkpoint(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"PK"
