"""TensorFlow.js graph models: written from a SavedModel with tensorflowjs, run with TensorFlow.js in Node."""

from __future__ import annotations

import json
import math
import os
import sys
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from subprocess import PIPE, Popen, TimeoutExpired
from threading import Lock
from types import ModuleType
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from yolopose.errors import PoseError, first_line, one_line
from yolopose.files import cache_dir
from yolopose.formats.base import Array, ExportOptions, FileBackend, Float, OpenOptions, to_nhwc
from yolopose.formats.checks import tool
from yolopose.formats.quiet import quiet, replaced_modules
from yolopose.formats.tensorflow import keras_model, write_saved_model
from yolopose.metadata import METADATA, ModelInfo, channels_last, load_metadata, save_metadata

if TYPE_CHECKING:
    from yolopose.nn.network import PoseNet

MODEL = "model.json"
RUNNER = Path(__file__).with_name("tfjs_run.cjs")
MODULES = ("@tensorflow/tfjs", "@tensorflow/tfjs-backend-wasm")
CONVERTER = "pip install --no-deps tensorflowjs==4.22.0"  # its other requirements are old and not needed here
STUBS = ("tensorflow_decision_forests", "tensorflow_hub", "tf_keras", "tensorflowjs.converters.jax_conversion")
KERNELS = "*/ReadVariableOp"  # the converter's names for the weights of convolutions only


class TfjsBackend(FileBackend):
    """A TensorFlow.js graph model, run in a Node process that ends with this object.

    The folder of a model contains data only; the code that runs it comes from elsewhere, see `_tools`.
    """

    channels_last = True

    def __init__(self, path: Path, options: OpenOptions) -> None:
        """Open the folder of a graph model.

        Raises:
            PoseError: a folder that TensorFlow.js cannot load, no pose network, or Node or a module of it is missing.
            UsageError: another device than the CPU.
        """
        if not (path / MODEL).is_file():
            raise PoseError(f"{path}: has no {MODEL}")
        self._node = Node(path, options.cpu_threads() or 0)
        try:
            shapes = [self._node.shapes["input"]], [self._node.shapes["output"]]
            super().__init__(path, options, load_metadata(path / METADATA), *shapes)
        except Exception:
            self._node.stop()
            raise

    def _run(self, images: Array) -> Float:
        return self._node.run(to_nhwc(images))


class Node:
    """A process that runs a model in WebAssembly, one call at a time; `tfjs_run.cjs` describes the messages."""

    def __init__(self, path: Path, threads: int) -> None:
        """Start it with the model in the folder `path`. Raises PoseError when Node, a module or the model fails."""
        node, modules = _tools(str(path))
        self._path, self._lock = path, Lock()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        command = [node, str(RUNNER), str(path.resolve()), str(threads), str(modules)]
        self._process = Popen(command, stdin=PIPE, stdout=PIPE, stderr=self._errors)
        self.stop = weakref.finalize(self, _stop, self._process, self._errors)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._in, self._out = self._process.stdin, self._process.stdout
        try:
            self.shapes = self._answer()
        except PoseError:
            self.stop()
            raise

    def run(self, images: Float) -> Float:
        """(B, H, W, 3) RGB from 0 to 1 → the model's output."""
        with self._lock:
            with suppress(OSError):  # the process has ended: `_answer` raises
                self._in.write(np.array(images.shape[:3], "<u4").tobytes())
                self._in.write(images.astype("<f4", copy=False).tobytes())
                self._in.flush()
            shape = self._answer()["output"]
            return np.frombuffer(self._read(4 * math.prod(shape)), "<f4").reshape(shape)

    def _answer(self) -> dict[str, Any]:
        """The next answer of the process. Raises PoseError for an error."""
        answer: dict[str, Any] = json.loads(self._read())
        if "error" in answer:
            raise PoseError(f"{self._path}: TensorFlow.js {first_line(answer['error'])}")
        return answer

    def _read(self, size: int | None = None) -> bytes:
        """The next line, or the next `size` bytes. Raises PoseError when the process has ended."""
        data = self._out.readline() if size is None else self._out.read(size)
        if not data or len(data) < (size or 0):
            self._errors.seek(0)
            lines = self._errors.read().decode(errors="replace").strip().splitlines()
            last = one_line(lines[-1]) if lines else "it printed nothing"
            raise PoseError(f"{self._path}: the Node process ended: {last}")
        return data


def _stop(process: Popen[bytes], errors: IO[bytes]) -> None:
    """End a process by closing its standard input, or kill it if that does not help."""
    try:
        process.communicate(timeout=5)
    except TimeoutExpired:
        process.kill()
        process.communicate()
    errors.close()


def _tools(purpose: str) -> tuple[str, Path]:
    """Return the path of Node and the folder with TensorFlow.js: our own, or one of NODE_PATH.

    Modules are programs, and those next to a model or in the current folder may be anyone's: they are never used, nor
    those of the folders above.

    Raises:
        PoseError: one of them is missing; the message tells how to install it.
    """
    own = cache_dir() / "tfjs"
    install = f"npm install --prefix {own} @tensorflow/tfjs@4.22.0 @tensorflow/tfjs-backend-wasm@4.22.0"
    node = tool("node")
    if node is None:
        raise PoseError(f"{purpose}: TF.js files run in Node: install Node.js (https://nodejs.org), then {install}")
    named = [Path(text) for text in os.environ.get("NODE_PATH", "").split(os.pathsep) if os.path.isabs(text)]
    for folder in (own / "node_modules", *named):
        if all((folder / module).is_dir() for module in MODULES):
            return node, folder
    raise PoseError(f"{purpose}: TensorFlow.js is neither in {own} nor in a folder of NODE_PATH: {install}")


def check_tfjs(options: ExportOptions, target: Path) -> None:
    """Raise PoseError when the converter, or Node or a module that the verification needs, is not installed."""
    if find_spec("tensorflowjs") is None:
        raise PoseError(f"format=tfjs: needs tensorflowjs: {CONVERTER}")
    if options.verify:
        _tools("format=tfjs, to verify the new file (verify=False does not)")


def export_tfjs(network: PoseNet, options: ExportOptions, info: ModelInfo, target: Path) -> None:
    """Write `network` to the folder `target`; the weights of convolutions in 16 bits with `half`, in 8 with `int8`.

    TensorFlow.js turns them into float32 when it loads the model. It has one scale for all channels of a weight:
    `rescaled` gives the channels equal ranges.
    """
    model = keras_model(network, options, info, rescaled=options.int8)
    kinds = {"uint8": KERNELS} if options.int8 else {"float16": KERNELS} if options.half else {}
    with tempfile.TemporaryDirectory() as folder:
        saved = Path(folder) / "saved_model"
        write_saved_model(model, info, saved)
        with quiet(), _converter() as convert:
            convert(str(saved), str(target), quantization_dtype_map=kinds)
    save_metadata(target / METADATA, channels_last(info))


@contextmanager
def _converter() -> Iterator[Any]:
    """Import the converter from SavedModel with stubs for packages it does not need; afterwards remove both."""
    stubs: dict[str, Any] = {name: ModuleType(name) for name in STUBS}
    for name, stub in stubs.items():
        stub.__spec__ = ModuleSpec(name, None)
        stub.convert_jax = None
    with replaced_modules(stubs):
        before = {name: sys.modules.pop(name) for name in _converter_modules()}
        try:
            from tensorflowjs.converters.tf_saved_model_conversion_v2 import convert_tf_saved_model

            yield convert_tf_saved_model
        finally:
            for name in _converter_modules():
                del sys.modules[name]
            sys.modules.update(before)


def _converter_modules() -> list[str]:
    """The names of the loaded modules of tensorflowjs, without the stubs."""
    return [name for name in sys.modules if name.startswith("tensorflowjs") and name not in STUBS]
