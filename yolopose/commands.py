"""What `yolo MODE` does: one function per mode, from the arguments as typed to the exit code."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from yolopose import weights
from yolopose.api import YOLO, train_model
from yolopose.config import (
    BenchmarkConfig,
    ConvertConfig,
    DoctorConfig,
    EvalWiderfaceConfig,
    ExportConfig,
    PredictConfig,
    TrainConfig,
    ValConfig,
    VerifyConfig,
    parse,
    replace,
)
from yolopose.console import log
from yolopose.errors import UsageError
from yolopose.formats.pytorch import require_torch
from yolopose.formats.table import check_options


def run_predict(values: dict[str, Any]) -> int:
    """`yolo predict`: pictures are written unless save=False. Returns 1 when a source item failed, otherwise 0."""
    config = parse(PredictConfig, {"save": True, "keep_image": False, **values})
    with _starting():
        run = YOLO(config.model)._run(config)
        next(run, None)
    for _ in run:
        pass
    return int(run.failed > 0)


@contextmanager
def _starting() -> Iterator[None]:
    """Without garbage collection: importing torch makes so many lasting objects that walking them costs 0.2 s."""
    import gc

    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def run_val(values: dict[str, Any]) -> int:
    """`yolo val`."""
    config = parse(ValConfig, values)
    YOLO(config.model)._val(config)
    return 0


def run_train(values: dict[str, Any]) -> int:
    """`yolo train`."""
    config = parse(TrainConfig, values)
    if config.resume:
        train_model(config, None, {}, pretrained=True)
    elif config.model is None:
        raise UsageError("model is missing: name weights or an architecture, as in model=yolov8n-pose.yaml")
    else:
        YOLO(config.model)._fit(config)
    return 0


def run_export(values: dict[str, Any]) -> int:
    """`yolo export`: of a checkpoint; without `model`, of the bundled one."""
    config = parse(ExportConfig, values)
    check_options(config)  # before the network is read, or torch asked for
    model = config.model or weights.default_model(suffix=".pt")
    log.info(f"saved as {YOLO(model)._export(config)}")
    return 0


def run_verify(values: dict[str, Any]) -> int:
    """`yolo verify`. Returns 1 when the two files do not find the same."""
    from yolopose.evaluate import verify

    return verify.run(parse(VerifyConfig, values))


def run_benchmark(values: dict[str, Any]) -> int:
    """`yolo benchmark`. Returns 1 when no format could be measured."""
    from yolopose.evaluate.benchmark import benchmark

    config = parse(BenchmarkConfig, values)
    require_torch("benchmark")
    rows = benchmark(replace(config, model=str(weights.find(config.model))) if config.model else config)
    return int(all(row.failure for row in rows))


def run_doctor(values: dict[str, Any]) -> int:
    """`yolo doctor`. Returns 1 when strict=True and something is wrong with the data, otherwise 0."""
    from yolopose import doctor

    return doctor.run(parse(DoctorConfig, values))


def run_convert(values: dict[str, Any]) -> int:
    """`yolo convert`."""
    from yolopose import convert

    return convert.run(parse(ConvertConfig, values))


def run_eval_widerface(values: dict[str, Any]) -> int:
    """`yolo eval-widerface`."""
    from yolopose.evaluate import widerface

    return widerface.run(parse(EvalWiderfaceConfig, values))


COMMANDS: dict[str, Callable[[dict[str, Any]], int]] = {
    "predict": run_predict,
    "val": run_val,
    "train": run_train,
    "export": run_export,
    "verify": run_verify,
    "benchmark": run_benchmark,
    "doctor": run_doctor,
    "convert": run_convert,
    "eval-widerface": run_eval_widerface,
}
