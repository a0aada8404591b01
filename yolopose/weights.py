"""Finding model files: a path, a bundled file, a file in the cache, or published weights, downloaded once."""

from __future__ import annotations

from pathlib import Path

from yolopose.console import log
from yolopose.download import Unreachable, download, read_sum, sum_of
from yolopose.errors import PoseError, did_you_mean
from yolopose.files import cache_dir
from yolopose.limits import MAX_WEIGHTS

ASSETS = Path(__file__).parent / "assets"
RELEASE = "https://github.com/ultralytics/assets/releases/download/v8.3.0/"

# Weights that are published there, and their sha256 where it is known. Where it is not, the sum of the first download
# is logged and stored next to the file, and from then on a different file is refused. A wrong file can do no harm
# anyway, since checkpoints are read as data.
KNOWN: dict[str, str | None] = dict.fromkeys((*(f"yolov8{size}-pose.pt" for size in "nsmlx"), "yolov8x-pose-p6.pt"))

# What a bundled model finds: the file is NAME.onnx in ASSETS, its card NAME.md (`recipes/bundle.py`). The ONNX file
# holds everything: ONNX Runtime runs it, and torch gets the network for training and exports from it, for which it can
# also be called NAME.pt. A model without a file here does not exist.
FINDS = {"yolov8n-face": "faces with 5 points", "yolov8n-person": "people with 17 points"}
DEFAULT = "yolov8n-face"  # the model when none is named


def bundled() -> dict[str, Path]:
    """The models in the package: their ONNX files by name, the default one first."""
    return {file.stem: file for file in sorted(ASSETS.glob("*.onnx"), key=lambda file: (file.stem != DEFAULT, file))}


def is_bundled(path: Path) -> bool:
    """Whether `path`, as `find` returns it, is a model of the package."""
    return path in bundled().values()


def default_model() -> Path:
    """The bundled model to use when none is named. Raises PoseError when there is none."""
    for file in bundled().values():
        return file
    raise PoseError(f"no model is named and none is bundled; name a file, or one of {', '.join(KNOWN)}")


def notice(path: Path) -> str | None:
    """The line that says which model is used: the package's, or a file of yours of the same name; else None."""
    if is_bundled(path):
        return f"model: {path.stem} (bundled): {FINDS.get(path.stem, 'see its card')}"
    if path.parent == Path() and path.stem in bundled():
        return f"model: {path} (a file in this folder, not the bundled {path.stem})"
    return None


def find(name: str | Path) -> Path:
    """The file of a model: an existing path, a bundled file, a downloaded one, or published weights, downloaded now.

    `.pt` may be left out. A bundled model is found by its name alone, or with .onnx or .pt: its file is an ONNX file.

    Raises:
        PoseError: no such file and no such name; a failed download (the message lists what is bundled); a downloaded
            file that has changed.
    """
    path, checkpoint = Path(name), Path(f"{name}.pt")
    if not path.suffix and checkpoint.is_file() and not path.is_file():
        return checkpoint
    models = bundled()
    if path.is_file() or (path.exists() and str(path) not in models):
        return path
    file_name = path.name if path.suffix else checkpoint.name
    local = {f"{stem}{suffix}": file for stem, file in models.items() for suffix in (".onnx", ".pt")}
    if path.parent != Path():  # a folder is named: look nowhere else
        hint = f"; the bare name {file_name} would be found" if file_name in local or file_name in KNOWN else ""
        raise PoseError(f"{name}: no such file{hint}")
    if file_name in local:
        return local[file_name]
    target = cache_dir() / file_name
    first_sum = target.with_name(f"{file_name}.sha256")  # of the first download
    if target.is_file():
        known = read_sum(first_sum)
        if known is not None and sum_of(target) != known:
            raise PoseError(f"{target}: changed since it was downloaded; delete it to download it again")
        return target
    if file_name in KNOWN:
        return _download(file_name, target, first_sum)
    if path.stem in FINDS and path.suffix in ("", ".onnx", ".pt"):
        raise PoseError(f"{name}: no such file, and not in this version of yolopose, which has {', '.join(models)}")
    nearest = did_you_mean(path.name, [*(local if path.suffix else models), *KNOWN], "{}")
    raise PoseError(f"{name}: no such file{nearest}")


def _download(name: str, target: Path, first_sum: Path) -> Path:
    """Download published weights to `target`; the checksum goes to `first_sum`."""
    log.info("%s: weights by Ultralytics under AGPL-3.0 (https://ultralytics.com/license), downloaded once", name)
    try:
        download(RELEASE + name, target, sha256=KNOWN[name], first_sum=first_sum, most=MAX_WEIGHTS)
    except Unreachable as error:
        ready = ", ".join(bundled()) or "nothing"
        raise PoseError(
            f"{name}: {error}; without a network, use what is bundled ({ready}) or a file you have"
        ) from None
    with target.open("rb") as file:
        checkpoint = file.read(2) == b"PK"
    if not checkpoint:  # e.g. the page of a captive portal
        target.unlink()
        first_sum.unlink(missing_ok=True)
        raise PoseError(f"{name}: {RELEASE} did not send a checkpoint; nothing was kept")
    if KNOWN[name] is None:
        log.info("%s: saved as %s, sha256 %s", name, target, sum_of(target))
    return target
