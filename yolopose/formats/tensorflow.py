"""TensorFlow's SavedModel and frozen GraphDef: translated from ONNX, run by TensorFlow."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from yolopose.console import log
from yolopose.errors import PoseError, UsageError, first_line
from yolopose.formats.base import (
    Array,
    Backend,
    ExportOptions,
    Float,
    OpenOptions,
    as_exported,
    decoded,
    in_batches_of,
    refuse_other_shape,
    to_nhwc,
)
from yolopose.formats.onnx import export_onnx
from yolopose.formats.quiet import quiet
from yolopose.metadata import (
    METADATA,
    ModelInfo,
    channels_last,
    info_from_file,
    is_end_to_end,
    load_metadata,
    save_metadata,
    stated_precision,
)

if TYPE_CHECKING:
    from yolopose.nn.network import PoseNet

SIGNATURE = "serving_default"  # the function of a SavedModel that others look for
KERAS = "model.keras"  # within the folder of a SavedModel
RESULT = "Identity"  # the first output in a frozen graph, as TensorFlow names it
CPU = "/CPU:0"


class Function(NamedTuple):
    """A TensorFlow function of one image batch: `run` (B, H, W, 3) → output, and both shapes with None where open."""

    run: Callable[[Any], Any]
    inputs: Sequence[int | None]
    output: Sequence[int | None]
    owner: Any  # the variables end with the object that was loaded


class TensorflowBackend(Backend):
    """A TensorFlow function on the CPU."""

    def __init__(self, path: Path, function: Function, info: ModelInfo) -> None:
        self.info = info
        self.precision = stated_precision(info)
        self.device = "cpu"
        batch, h, w, _ = function.inputs
        self.fixed_shape = (batch or 1, h, w) if h and w else None
        self._batch = batch
        self._name = str(path)
        self._function = function
        self._end_to_end = is_end_to_end(function.output, info)

    def infer(self, images: Array) -> Float:
        """(B, H, W, 3) → (B, 4+C+K·D, A), see `Backend`."""
        refuse_other_shape(self._name, images, self.fixed_shape)
        return in_batches_of(self._batch, images, self._run) if self._batch else self._run(images)

    def _run(self, images: Array) -> Float:
        """One run on a batch that the function accepts."""
        import tensorflow as tf

        with tf.device(CPU):
            output = np.asarray(self._function.run(tf.constant(to_nhwc(images))), np.float32)
        return decoded(output, len(self.info.names)) if self._end_to_end else output


def open_saved_model(path: Path, options: OpenOptions) -> TensorflowBackend:
    """Open the folder of a SavedModel, ours or others' of one decoded output.

    Raises:
        PoseError: a folder that TensorFlow cannot load, or no pose network.
        UsageError: another device than the CPU.
    """
    return _open(path, options, load_metadata(path / METADATA), _load_saved_model)


def open_graphdef(path: Path, options: OpenOptions) -> TensorflowBackend:
    """Open a frozen graph; what it says of itself lies beside it, in `NAME.pb.yaml`.

    Raises:
        PoseError: a file that TensorFlow cannot load, or no pose network.
        UsageError: another device than the CPU.
    """
    return _open(path, options, load_metadata(Path(f"{path}.yaml")), _load_graphdef)


def _open(
    path: Path, options: OpenOptions, metadata: Mapping[str, Any], load: Callable[[Path], Function]
) -> TensorflowBackend:
    """The common part of opening a file of TensorFlow."""
    with quiet():
        import tensorflow as tf

    try:
        if options.cpu_threads():  # TensorFlow has one pool of threads for the whole process
            tf.config.threading.set_intra_op_parallelism_threads(options.cpu_threads())
    except RuntimeError:
        if options.threads:
            log.warning(f"{path}: TensorFlow is running already and keeps its number of threads")
    try:
        with quiet(), tf.device(CPU):
            function = load(path)
    except PoseError:
        raise
    except Exception as e:  # TensorFlow raises errors of its own, protobuf's and Python's
        raise PoseError(f"{path}: TensorFlow cannot load it: {first_line(e)}") from None
    if len(function.inputs) != 4 or len(function.output) != 3 or function.inputs[3] != 3:
        shapes = f"{list(function.inputs)} → {list(function.output)}"
        raise PoseError(f"{path}: expected (B, H, W, 3) images and one decoded (B, 4+C+K·D, A) output, got {shapes}")
    b, h, w, c = function.inputs
    info = info_from_file(str(path), metadata, (b, c, h, w), function.output, options.kpt_shape)
    as_exported(str(path), stated_precision(info), options)
    return TensorflowBackend(path, function, info)


def _load_saved_model(path: Path) -> Function:
    import tensorflow as tf

    model = tf.saved_model.load(str(path))
    if SIGNATURE not in model.signatures:
        raise PoseError(f"{path}: has no function {SIGNATURE}")
    function = model.signatures[SIGNATURE]
    inputs, outputs = function.structured_input_signature[1], function.structured_outputs
    if len(inputs) != 1 or len(outputs) != 1:
        raise PoseError(f"{path}: expected one input and one output, got {sorted(inputs)} → {sorted(outputs)}")
    ((name, entry),), ((result, out),) = inputs.items(), outputs.items()
    return Function(lambda images: function(**{name: images})[result], list(entry.shape), list(out.shape), model)


def _load_graphdef(path: Path) -> Function:
    import tensorflow as tf

    graph = tf.compat.v1.GraphDef.FromString(path.read_bytes())
    read = {name.lstrip("^").split(":")[0] for node in graph.node for name in node.input}
    inputs = [node.name for node in graph.node if node.op == "Placeholder"]
    loose = [node.name for node in graph.node if node.name not in read and node.op not in ("Placeholder", "NoOp")]
    outputs = [RESULT] if RESULT in loose else loose
    if len(inputs) != 1 or len(outputs) != 1:
        raise PoseError(f"{path}: expected one input and one output, got {inputs} → {outputs}")
    whole = tf.compat.v1.wrap_function(lambda: tf.graph_util.import_graph_def(graph, name=""), [])
    entry, out = (whole.graph.get_tensor_by_name(f"{name}:0") for name in (*inputs, *outputs))
    return Function(whole.prune(entry, out), list(entry.shape), list(out.shape), whole)


def export_saved_model(network: PoseNet, options: ExportOptions, info: ModelInfo, target: Path) -> None:
    """Write `network` to the folder `target`; with `keras` it also holds a Keras model of Keras' own layers.

    With `int8` the weights of convolutions are stored in 8 bit, one scale per output channel, and multiplied out in
    float when the file is run: a quarter of the size at the speed of float.

    Raises:
        UsageError: keras with int8.
    """
    if options.keras and options.int8:
        raise UsageError("keras=True: a Keras model has float weights; export it without int8=True")
    model = keras_model(network, options, info, rescaled=options.int8)
    write_saved_model(model, info, target, int8=options.int8)
    if options.keras:
        with quiet():
            model.save(target / KERAS)


def export_graphdef(network: PoseNet, options: ExportOptions, info: ModelInfo, target: Path) -> None:
    """Write `network` to `target` as a frozen graph, and its metadata to a file of that name and `.yaml`."""
    model = keras_model(network, options, info)
    with quiet():
        import tensorflow as tf

        weights = [weight.numpy() for weight in model.trainable_variables]

        def infer(images: Any) -> Any:
            return model.stateless_call([tf.constant(weight) for weight in weights], [], images)[0]

        graph = tf.function(infer, autograph=False).get_concrete_function(images_spec(model)).graph.as_graph_def()
        graph = tf.compat.v1.graph_util.extract_sub_graph(graph, [RESULT])
    target.write_bytes(graph.SerializeToString())
    save_metadata(Path(f"{target}.yaml"), channels_last(info))


def keras_model(
    network: PoseNet,
    options: ExportOptions,
    info: ModelInfo,
    *,
    rescaled: bool = False,
    outputs: Callable[[Any], Mapping[str, str]] | None = None,
) -> Any:
    """`network` as a Keras model for images (B, H, W, 3), by way of ONNX.

    `rescaled` as for `to_keras`; `outputs` chooses other values of the ONNX model than its output.
    """
    with quiet():
        import onnx

        from yolopose.formats.onnx_to_keras import to_keras  # first: it fails before the work if Keras is missing
    plain = replace(options, half=False, int8=False, simplify=True, opset=None)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        export_onnx(network, plain, info, path)
        graph = onnx.load(path)
    with quiet():
        return to_keras(graph, outputs=outputs(graph) if outputs else None, rescaled=rescaled)


def write_saved_model(model: Any, info: ModelInfo, target: Path, *, int8: bool = False) -> None:
    """Write a Keras model of one output to the folder `target`; `int8` needs one that was converted `rescaled`."""
    with quiet():
        import tensorflow as tf

        module = tf.Module()
        module.weights = [
            tf.Variable(tf.cast(tf.round(weight * 127), tf.int8) if int8 and len(weight.shape) == 4 else weight)
            for weight in model.trainable_variables
        ]

        def infer(images: Any) -> dict[str, Any]:
            weights = [tf.cast(w, tf.float32) / 127 if w.dtype == tf.int8 else w for w in module.weights]
            return {"output0": model.stateless_call(weights, [], images)[0]}

        function = tf.function(infer, autograph=False).get_concrete_function(images_spec(model))
        tf.saved_model.save(module, str(target), signatures={SIGNATURE: function})
    save_metadata(target / METADATA, channels_last(info))


def images_spec(model: Any) -> Any:
    """What a Keras model takes, as TensorFlow describes it."""
    import tensorflow as tf

    return tf.TensorSpec(model.inputs[0].shape, tf.float32, name="images")
