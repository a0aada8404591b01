"""TF.js models are data: code next to one, or in the current folder, is never run."""

import json
import os
import shutil
from pathlib import Path

import pytest

from yolopose.errors import PoseError
from yolopose.formats.table import open_backend

EVIL = "require('fs').writeFileSync(process.env.PWNED, 'code of the model ran'); module.exports = {}"
needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="no node on the PATH")


def modules(folder: Path, code: str) -> Path:
    """A node_modules in `folder` with modules of TensorFlow.js' names that run `code`."""
    for name in ("tfjs", "tfjs-backend-wasm"):
        module = folder / "node_modules" / "@tensorflow" / name
        module.mkdir(parents=True)
        (module / "package.json").write_text('{"main": "index.js"}')
        (module / "index.js").write_text(code)
    return folder / "node_modules"


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model folder below others, in a place without modules, and the file that evil modules write."""
    folder = tmp_path / "home" / "models" / "evil_web_model"
    folder.mkdir(parents=True)
    (folder / "model.json").write_text("{}")
    monkeypatch.setenv("PWNED", str(tmp_path / "pwned.txt"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("NODE_PATH", raising=False)
    return folder


@needs_node
@pytest.mark.parametrize("place", ["model", "parent", "current", "above the cache"])
@pytest.mark.parametrize("node_path", ["", ".", "node_modules", os.pathsep])
def test_modules_near_a_model_are_not_run(
    place: str, node_path: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    current = tmp_path / "current"
    current.mkdir()
    near = {"model": model, "parent": model.parent, "current": current, "above the cache": tmp_path / "cache"}[place]
    found = modules(near, EVIL)
    (near / "@tensorflow").symlink_to(found / "@tensorflow")
    monkeypatch.chdir(current)
    monkeypatch.setenv("NODE_PATH", node_path)
    with pytest.raises(
        PoseError, match=r"npm install --prefix .*cache.yolopose.tfjs @tensorflow/tfjs@4\.22\.0"
    ) as error:
        open_backend(model)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "pwned.txt").exists()


@needs_node
@pytest.mark.parametrize("place", ["ours", "NODE_PATH"])
def test_modules_that_the_user_installed_are_run(
    place: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: the same code in the places that are searched."""
    if place == "ours":
        modules(tmp_path / "cache" / "yolopose" / "tfjs", EVIL)
    else:
        monkeypatch.setenv("NODE_PATH", str(modules(tmp_path / "elsewhere", EVIL)))
    with pytest.raises(PoseError, match=r"TensorFlow\.js cannot load it"):
        open_backend(model)
    assert (tmp_path / "pwned.txt").read_text() == "code of the model ran"


def test_a_program_in_the_current_folder_is_not_node(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "node"
    program.write_text('#!/bin/sh\necho ran > "$PWNED"\n')
    program.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", os.curdir)
    with pytest.raises(PoseError, match=r"install Node\.js"):
        open_backend(model)
    assert not (tmp_path / "pwned.txt").exists()


STUB = """exports.setWasmPaths = exports.setThreadsCount = exports.setBackend = exports.ready = () => {};
exports.io = { fromMemory: (model) => model };
exports.loadGraphModel = () => { throw new Error("loaded"); };"""


@needs_node
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names there")
@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["a.bin"], "loaded"),
        (["a.bin", "../evil_web_model/a.bin"], "named twice"),
        (["pipe.bin"], r"pipe\.bin is not a regular file"),
        (["zero.bin"], r"zero\.bin is not a regular file"),
    ],
)
def test_weights_are_files_each_read_once(
    names: list[str], told: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (model / "a.bin").write_bytes(bytes(8))
    os.mkfifo(model / "pipe.bin")
    (model / "zero.bin").symlink_to(os.devnull)
    (model / "model.json").write_text(json.dumps({"weightsManifest": [{"paths": names, "weights": []}]}))
    monkeypatch.setenv("NODE_PATH", str(modules(tmp_path / "elsewhere", STUB)))
    with pytest.raises(PoseError, match=rf"cannot load it: .*{told}"):
        open_backend(model)
