"""TensorFlow.js graph models: made from a SavedModel by tensorflowjs, run by TensorFlow.js in Node."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from subprocess import PIPE, Popen, TimeoutExpired
from threading import Lock
from types import ModuleType
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from yolopose.errors import PoseError, first_line
from yolopose.files import cache_dir
from yolopose.formats.base import (
    Array,
    Backend,
    ExportOptions,
    Float,
    OpenOptions,
    as_exported,
    in_batches_of,
    refuse_other_shape,
    to_nhwc,
)
from yolopose.formats.checks import tool
from yolopose.formats.quiet import planted, quiet
from yolopose.formats.tensorflow import keras_model, write_saved_model
from yolopose.metadata import (
    METADATA,
    ModelInfo,
    channels_last,
    info_from_file,
    load_metadata,
    save_metadata,
    stated_precision,
)

if TYPE_CHECKING:
    from yolopose.nn.network import PoseNet

MODEL = "model.json"
RUNNER = Path(__file__).with_name("tfjs_run.cjs")
MODULES = ("@tensorflow/tfjs", "@tensorflow/tfjs-backend-wasm")
CONVERTER = "pip install --no-deps tensorflowjs==4.22.0"  # what it asks for beside is old, and not needed here
STUBS = ("tensorflow_decision_forests", "tensorflow_hub", "tf_keras", "tensorflowjs.converters.jax_conversion")
KERNELS = "*/ReadVariableOp"  # how the converter names the weights of convolutions, and nothing else


class TfjsBackend(Backend):
    """A Node process of its own that computes in WebAssembly, one call after the other; it ends with this object."""

    def __init__(self, path: Path, node: Node, info: ModelInfo, batch: int | None) -> None:
        self.info = info
        self.precision = stated_precision(info)
        self.device = "cpu"
        self.fixed_shape = None if info.dynamic else (batch or 1, *info.imgsz)
        self._batch = batch
        self._name = str(path)
        self._node = node

    def infer(self, images: Array) -> Float:
        """(B, H, W, 3) → (B, 4+C+K·D, A), see `Backend`."""
        refuse_other_shape(self._name, images, self.fixed_shape)
        return in_batches_of(self._batch, images, self._run) if self._batch else self._run(images)

    def _run(self, images: Array) -> Float:
        """One run on a batch that the model accepts."""
        return self._node.run(to_nhwc(images))


class Node:
    """A process that runs `tfjs_run.cjs`; what it says is described there."""

    def __init__(self, path: Path, threads: int) -> None:
        """Start it with the model in the folder `path`. Raises PoseError when Node or a module is missing."""
        node, modules = _tools(str(path))
        self._name = str(path)
        self._lock = Lock()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        command = [node, str(RUNNER), str(path.resolve()), str(threads), str(modules)]
        self._process = Popen(command, stdin=PIPE, stdout=PIPE, stderr=self._errors)
        self.stop = weakref.finalize(self, _stop, self._process, self._errors)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._in, self._out = self._process.stdin, self._process.stdout
        self.hello = self._hello()

    def _hello(self) -> dict[str, Any]:
        """What the process says when it has loaded the model."""
        line = self._out.readline()
        hello: dict[str, Any] = json.loads(line) if line else {"error": self._last_words()}
        if "error" in hello:
            self.stop()
            raise PoseError(f"{self._name}: TensorFlow.js cannot load it: {first_line(hello['error'])}")
        return hello

    def run(self, images: Float) -> Float:
        """(B, H, W, 3) RGB from 0 to 1 → the model's output."""
        with self._lock:
            try:
                self._in.write(np.array(images.shape[:3], "<u4").tobytes())
                self._in.write(images.astype("<f4", copy=False).tobytes())
                self._in.flush()
                (rank,) = self._numbers(1, "<u4")
                if rank == 0:
                    text = self._read(int(self._numbers(1, "<u4")[0])).decode(errors="replace")
                    raise PoseError(f"{self._name}: TensorFlow.js cannot run it: {first_line(text)}")
                shape = self._numbers(int(rank), "<u4")
                return self._numbers(int(shape.prod()), "<f4").astype(np.float32, copy=False).reshape(shape)
            except (OSError, EOFError, ValueError):
                raise PoseError(f"{self._name}: the Node process ended: {self._last_words()}") from None

    def _numbers(self, count: int, kind: str) -> Array:
        """The next numbers of an answer."""
        return np.frombuffer(self._read(count * 4), kind)

    def _read(self, size: int) -> bytes:
        """The next bytes of an answer. Raises EOFError when the process has ended."""
        data = self._out.read(size)
        if len(data) < size:
            raise EOFError
        return data

    def _last_words(self) -> str:
        """The last line that the process wrote to its standard error."""
        if self._errors.closed:
            return "it was closed"
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"


def _stop(process: Popen[bytes], errors: IO[bytes]) -> None:
    """End a process by closing its standard input, by force when that does not help."""
    for stream in (process.stdin, process.stdout):
        try:
            if stream is not None:
                stream.close()
        except OSError:  # it has ended, and took what was not yet written along
            pass
    try:
        process.wait(5)
    except TimeoutExpired:
        process.kill()
        process.wait()
    errors.close()


def _tools(what: str) -> tuple[str, Path]:
    """Node, and the folder that holds TensorFlow.js: our own, or one of NODE_PATH.

    Modules are programs. Those beside a model belong to whoever made the model, those of the current folder to whoever
    made that: neither is ever looked at, nor the folders above.

    Raises:
        PoseError: one of them is not there; the line says how to install it.
    """
    own = cache_dir() / "tfjs"
    install = f"npm install --prefix {own} @tensorflow/tfjs@4.22.0 @tensorflow/tfjs-backend-wasm@4.22.0"
    node = tool("node")
    if node is None:
        raise PoseError(f"{what}: TF.js files run in Node: install Node.js (https://nodejs.org), then {install}")
    named = [Path(text) for text in os.environ.get("NODE_PATH", "").split(os.pathsep) if text]
    for folder in (own / "node_modules", *(path for path in named if path.is_absolute())):
        if all((folder / module).is_dir() for module in MODULES):
            return node, folder
    raise PoseError(f"{what}: TensorFlow.js is neither in {own} nor in a folder of NODE_PATH: {install}")


def open_tfjs(path: Path, options: OpenOptions) -> TfjsBackend:
    """Open the folder of a graph model, which holds data only; what runs it lies elsewhere, see `_tools`.

    Raises:
        PoseError: a folder that TensorFlow.js cannot load, no pose network, or Node or a module of it is missing.
        UsageError: another device than the CPU.
    """
    if not (path / MODEL).is_file():
        raise PoseError(f"{path}: has no {MODEL}")
    node = Node(path, options.cpu_threads() or 0)
    try:
        entry, output = node.hello["input"], node.hello["output"]
        if len(entry) != 4 or len(output) != 3:
            raise PoseError(
                f"{path}: expected (B, H, W, 3) images and one decoded (B, 4+C+K·D, A) output, got {entry} → {output}"
            )
        b, h, w, c = entry
        info = info_from_file(str(path), load_metadata(path / METADATA), (b, c, h, w), output, options.kpt_shape)
        as_exported(str(path), stated_precision(info), options)
    except Exception:
        node.stop()
        raise
    return TfjsBackend(path, node, info, b)


def check_tfjs(options: ExportOptions, target: Path) -> None:
    """Raise PoseError where the converter, or what runs its file to verify it, is not installed."""
    if find_spec("tensorflowjs") is None:
        raise PoseError(f"format=tfjs: needs tensorflowjs: {CONVERTER}")
    if options.verify:
        _tools("format=tfjs, to verify what it writes (verify=False does not)")


def export_tfjs(network: PoseNet, options: ExportOptions, info: ModelInfo, target: Path) -> None:
    """Write `network` to the folder `target`; the weights of convolutions in 16 bit with `half`, in 8 with `int8`.

    TensorFlow.js makes float32 of them when it loads the model, and has one scale for all channels of a weight:
    `rescaled` gives them equal ranges.
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
    """The converter from SavedModel, imported without what tensorflowjs needs for other things; nothing of it stays."""
    stubs: dict[str, Any] = {name: ModuleType(name) for name in STUBS}
    for name, stub in stubs.items():
        stub.__spec__ = ModuleSpec(name, None)
        stub.convert_jax = None
    with planted(stubs):
        before = {name: sys.modules.pop(name) for name in _converter_modules()}
        try:
            from tensorflowjs.converters.tf_saved_model_conversion_v2 import convert_tf_saved_model

            yield convert_tf_saved_model
        finally:
            for name in _converter_modules():
                del sys.modules[name]
            sys.modules.update(before)


def _converter_modules() -> list[str]:
    """The names of tensorflowjs' modules that are loaded, the stand-ins aside."""
    return [name for name in sys.modules if name.startswith("tensorflowjs") and name not in STUBS]
