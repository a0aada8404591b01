"""Make a model that the package carries from a trained checkpoint: one ONNX file, which also holds the checkpoint.

    python recipes/bundle.py runs/pose/train/weights/best.pt yolov8n-face
    python recipes/bundle.py last.pt yolov8n-person "COCO (192 photographs), LSPET"      # what it was trained on

Writes yolopose/assets/NAME.onnx: open shape; weights in float16, cast to float32 when the file is opened, since many
runtimes lack kernels for float16; batch normalization not merged into the convolutions, which ONNX Runtime does when
it opens the file. So the initialisers are the weights of the network as it is trained, and the entry CHECKPOINT of the
metadata has the rest: architecture, arguments, counters. Arrays of fewer than LEAST numbers stay float32.

The file is kept only if the checkpoint that is read from it equals the one given, with its weights in float16, to the
bit. Takes seconds. Beside it belongs a card, NAME.md, written by hand; what NAME finds is told in `yolopose.weights`.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper

from yolopose.checkpoint import FORMAT, VERSION, Checkpoint, build_network, load_checkpoint
from yolopose.checkpoint.in_onnx import HALF, PREFIX, stored_rest
from yolopose.config import ExportConfig
from yolopose.errors import PoseError
from yolopose.files import atomic_path
from yolopose.formats.table import export
from yolopose.metadata import CHECKPOINT
from yolopose.nn.layers import BN_EPS
from yolopose.weights import ASSETS, FINDS

LEAST = 1024
NORM = ("weight", "bias", "running_mean", "running_var")  # in the order of ONNX's inputs


def prepared(source: Path, name: str, data: str | None) -> Checkpoint:
    """The checkpoint as it will ship: large arrays rounded to float16, no paths, nothing for resuming."""
    checkpoint = load_checkpoint(source)
    if not any(".bn." in key for key in checkpoint.state):
        raise PoseError(f"{source}: these weights are fused with their batch normalization and cannot be trained")
    state = {key: value.half().float() if _stored_half(value) else value for key, value in checkpoint.state.items()}
    if wrong := [key for key, value in state.items() if not torch.isfinite(value).all()]:
        raise PoseError(f"{source}: {wrong[0]} has values that float16 does not hold")
    arguments = {
        key: Path(value).name if isinstance(value, str) and ("/" in value or "\\" in value) else value
        for key, value in checkpoint.train_args.items()
        if key not in ("project", "name")
    }
    facts = {
        "license": f"research data: non-commercial use of these weights; see {name}.md",
        "data_card": f"{name}.md, beside the file in the package",
    }
    info = replace(checkpoint.info, extra=checkpoint.info.extra | facts | ({"data": data} if data else {}))
    extra = {key: value for key, value in checkpoint.extra.items() if key != "train_state"}
    return replace(checkpoint, state=state, info=info, train_args=arguments, extra=extra)


def _stored_half(value: torch.Tensor) -> bool:
    return value.is_floating_point() and value.numel() >= LEAST


def with_checkpoint(model: Any, checkpoint: Checkpoint) -> Any:
    """An exported ONNX model with the fused convolutions replaced by those of the checkpoint and their normalization.

    Its metadata get what the initialisers do not hold.
    """
    graph, rest = model.graph, dict(checkpoint.state)
    for weight in [w for w in graph.initializer if w.name.startswith(PREFIX)]:
        graph.initializer.remove(weight)
    casts: list[Any] = []
    nodes: list[Any] = []

    def add(key: str) -> str:
        value, name = rest.pop(key), f"{PREFIX}{key}"
        stored = f"{name}{HALF}" if _stored_half(value) else name
        array = value.numpy().astype(np.float16 if stored != name else np.float32)
        graph.initializer.append(numpy_helper.from_array(array, stored))
        if stored != name:
            casts.append(helper.make_node("Cast", [stored], [name], to=onnx.TensorProto.FLOAT))
        return name

    for node in graph.node:
        nodes.append(node)
        if node.op_type != "Conv" or not node.input[1].startswith(PREFIX):
            continue
        key = node.input[1].removeprefix(PREFIX)
        add(key)
        norm = key.removesuffix("conv.weight") + "bn"
        if f"{norm}.weight" in rest:
            output, node.output[0] = node.output[0], f"{node.output[0]}_conv"
            del node.input[2:]
            inputs = [node.output[0], *(add(f"{norm}.{part}") for part in NORM)]
            nodes.append(helper.make_node("BatchNormalization", inputs, [output], epsilon=BN_EPS))
        else:
            add(key.removesuffix("weight") + "bias")
    del graph.value_info[:]  # shapes that every runtime works out itself: a tenth of the file
    del graph.node[:]
    graph.node.extend([*casts, *nodes])
    content = {"format": FORMAT, "format_version": VERSION, "state": stored_rest(rest), "spec": checkpoint.spec}
    content |= {"info": checkpoint.info.to_dict(), "train_args": checkpoint.train_args, "extra": checkpoint.extra}
    model.metadata_props.add(key=CHECKPOINT, value=repr(content))
    onnx.checker.check_model(model)
    return model


def check(path: Path, wanted: Checkpoint) -> None:
    """Raise PoseError unless the checkpoint in the file equals `wanted` to the bit."""
    found = load_checkpoint(path)
    build_network(found)
    different = [
        key
        for key in wanted.state.keys() | found.state.keys()
        if key not in found.state or key not in wanted.state or not _equal(found.state[key], wanted.state[key])
    ]
    different += [
        name for name in ("spec", "info", "train_args", "extra") if getattr(found, name) != getattr(wanted, name)
    ]
    if different:
        raise PoseError(
            f"{path}: {len(different)} entries are not those of the checkpoint, first {sorted(different)[0]}"
        )


def _equal(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.numpy().tobytes() == b.numpy().tobytes()


def bundle(source: Path, name: str, data: str | None = None, folder: Path = ASSETS) -> Path:
    """Write NAME.onnx into `folder` and return its path."""
    checkpoint = prepared(source, name, data)
    network = build_network(checkpoint)
    target = folder / f"{name}.onnx"
    with atomic_path(target) as part:
        export(network, ExportConfig(imgsz=network.info.imgsz, dynamic=True, out=str(part)))
        onnx.save(with_checkpoint(onnx.load(part), checkpoint), part)
        check(part, checkpoint)
    return target


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4) or sys.argv[2] not in FINDS:
        sys.exit(f"python recipes/bundle.py CHECKPOINT.pt NAME [DATA]; NAME is one of {', '.join(FINDS)}")
    file = bundle(Path(sys.argv[1]), *sys.argv[2:])
    print(f"{file}: {file.stat().st_size / 1e6:.2f} MB, its checkpoint equals {sys.argv[1]} in float16 to the bit")
    if not file.with_suffix(".md").is_file():
        print(f"still to write: {file.with_suffix('.md')}, its card")
