"""Make the face model that the package carries from a trained checkpoint: float16 weights, metadata, no paths.

    python recipes/bundle_face.py runs/pose/face/weights/best.pt

Writes yolopose/assets/yolov8n-face.pt and .onnx (open shape). The ONNX file stores its weights in float16 and casts
them when it is opened: half the size, and float32 arithmetic, since many runtimes lack kernels for float16. Takes
seconds; the card beside the files (yolov8n-face.md) holds data, rights, command and figures and is written by hand.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from yolopose.checkpoint import build_network, load_checkpoint, save_checkpoint
from yolopose.config import ExportConfig
from yolopose.formats.table import export

ASSETS = Path(__file__).resolve().parents[1] / "yolopose" / "assets"
FACTS = {
    "license": "research data: non-commercial use of these weights; see yolov8n-face.md",
    "data_card": "yolov8n-face.md, beside the file in the package",
    "data": "WIDER FACE (part of the validation set), 300-W (HELEN, AFW), YouTube Faces",
}
LEAST = 1024  # smaller constants stay float32: they hold no weights to speak of


def store_in_half(path: Path) -> None:
    """Keep the weights of an ONNX file in float16, cast to float32 when a runtime opens it."""
    model = onnx.load(path)
    graph, casts = model.graph, []
    for weight in list(graph.initializer):
        values = numpy_helper.to_array(weight)
        if values.dtype == np.float32 and values.size >= LEAST:
            small = numpy_helper.from_array(values.astype(np.float16), f"{weight.name}.half")
            casts.append(helper.make_node("Cast", [small.name], [weight.name], to=onnx.TensorProto.FLOAT))
            graph.initializer.remove(weight)
            graph.initializer.append(small)
    del graph.value_info[:]  # shapes that every runtime works out itself: a tenth of the file
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def main(source: Path) -> None:
    """Write both files and tell their sizes."""
    checkpoint = load_checkpoint(source)
    arguments = {
        key: Path(value).name if key in ("data", "model") and value else value
        for key, value in checkpoint.train_args.items()
        if key not in ("project", "name")
    }
    info = replace(checkpoint.info, extra=checkpoint.info.extra | FACTS)
    extra = {key: value for key, value in checkpoint.extra.items() if key != "train_state"}
    target = ASSETS / "yolov8n-face.pt"
    save_checkpoint(target, replace(checkpoint, info=info, train_args=arguments, extra=extra), half=True)
    network = build_network(load_checkpoint(target))
    onnx_file = export(network, ExportConfig(imgsz=640, dynamic=True, out=str(target.with_suffix(".onnx"))))
    store_in_half(onnx_file)
    for file in (target, onnx_file):
        print(f"{file.name}: {file.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
