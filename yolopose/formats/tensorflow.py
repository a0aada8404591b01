"""TensorFlow's SavedModel and frozen GraphDef: converted from ONNX, run with TensorFlow."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from yolopose.console import log
from yolopose.errors import PoseError, UsageError
from yolopose.formats.base import Array, ExportOptions, FileBackend, Float, OpenOptions, loading, to_nhwc
from yolopose.formats.onnx import onnx_model
from yolopose.formats.quiet import quiet
from yolopose.metadata import METADATA, ModelInfo, channels_last, load_metadata, save_metadata

if TYPE_CHECKING:
    from yolopose.nn.network import PoseNet

SIGNATURE = "serving_default"  # the usual function of a SavedModel
KERAS = "model.keras"  # in the folder of a SavedModel
RESULT = "Identity"  # the first output in a frozen graph, as TensorFlow names it
CPU = "/CPU:0"
# a function of (B, H, W, 3) images, and the shapes of its input and output with None where open
Loaded = tuple[Callable[[Any], Any], Sequence[int | None], Sequence[int | None]]

Outputs = Callable[[Any], Mapping[str, str]]  # of an ONNX model: names for the values to return


class TensorflowBackend(FileBackend):
    """A function of a SavedModel, or of a frozen graph when `path` ends in .pb, run with TensorFlow on the CPU."""

    channels_last = True

    def __init__(self, path: Path, options: OpenOptions) -> None:
        """Open the folder of a SavedModel, or a GraphDef, whose metadata are in `NAME.pb.yaml`; ours or others'.

        Raises:
            PoseError: a model that TensorFlow cannot load, or no pose network.
            UsageError: another device than the CPU.
        """
        frozen = path.suffix == ".pb"
        metadata = load_metadata(Path(f"{path}.yaml") if frozen else path / METADATA)
        with quiet():
            import tensorflow as tf

        try:
            if options.cpu_threads():  # TensorFlow has one pool of threads for the whole process
                tf.config.threading.set_intra_op_parallelism_threads(options.cpu_threads())
        except RuntimeError:
            if options.threads:
                log.warning(f"{path}: TensorFlow is running already and keeps its number of threads")
        with quiet(), loading(path, "TensorFlow"), tf.device(CPU):
            self._function, inputs, output = (_load_graphdef if frozen else _load_saved_model)(path)
        super().__init__(path, options, metadata, [inputs], [output])

    def _run(self, images: Array) -> Float:
        import tensorflow as tf

        with tf.device(CPU):
            return np.asarray(self._function(tf.constant(to_nhwc(images))), np.float32)


def _load_saved_model(path: Path) -> Loaded:
    import tensorflow as tf

    model = tf.saved_model.load(str(path))
    if SIGNATURE not in model.signatures:
        raise PoseError(f"{path}: has no function {SIGNATURE}")
    function = model.signatures[SIGNATURE]
    inputs, outputs = function.structured_input_signature[1], function.structured_outputs
    if len(inputs) != 1 or len(outputs) != 1:
        raise PoseError(f"{path}: expected one input and one output, got {sorted(inputs)} → {sorted(outputs)}")
    ((name, entry),), ((result, out),) = inputs.items(), outputs.items()

    def run(images: Any, keep_alive: Any = model) -> Any:  # the variables are deleted with the model
        return function(**{name: images})[result]

    return run, list(entry.shape), list(out.shape)


def _load_graphdef(path: Path) -> Loaded:
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
    return whole.prune(entry, out), list(entry.shape), list(out.shape)


def export_saved_model(network: PoseNet, options: ExportOptions, info: ModelInfo, target: Path) -> None:
    """Write `network` to the folder `target`; with `keras` also as a Keras model of Keras' own layers.

    With `int8` the weights of convolutions are stored in 8 bits, one scale per output channel, and turned into floats
    when the file is run: a quarter of the size at the speed of float.

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
    """Write `network` to `target` as a frozen graph, and its metadata to the file `target`.yaml."""
    model = keras_model(network, options, info)
    with quiet():
        import tensorflow as tf

        weights = [weight.numpy() for weight in model.trainable_variables]

        def infer(images: Any) -> Any:
            return model.stateless_call([tf.constant(weight) for weight in weights], [], images)[0]

        graph = tf.compat.v1.graph_util.extract_sub_graph(traced(infer, model).graph.as_graph_def(), [RESULT])
    target.write_bytes(graph.SerializeToString())
    save_metadata(Path(f"{target}.yaml"), channels_last(info))


def keras_model(
    network: PoseNet, options: ExportOptions, info: ModelInfo, *, rescaled: bool = False, outputs: Outputs | None = None
) -> Any:
    """Return `network` as a Keras model of (B, H, W, 3) images, converted from ONNX.

    `rescaled` as for `to_keras`; `outputs` selects other values of the ONNX model than its output.
    """
    with quiet():
        from yolopose.formats.onnx_to_keras import to_keras  # first: it fails before the work if Keras is missing
    graph = onnx_model(network, replace(options, half=False, int8=False, simplify=True, opset=None), info)
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

        tf.saved_model.save(module, str(target), signatures={SIGNATURE: traced(infer, model)})
    save_metadata(target / METADATA, channels_last(info))


def traced(function: Callable[[Any], Any], model: Any) -> Any:
    """Return a function of images that a Keras `model` takes as a TensorFlow graph function."""
    import tensorflow as tf

    images = tf.TensorSpec(model.inputs[0].shape, tf.float32, name="images")
    return tf.function(function, autograph=False).get_concrete_function(images)
