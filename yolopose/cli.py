"""The command line: `yolo [pose] MODE key=value …`; `--key value` and `--key=value` mean the same.

The modules that do the work are imported when a mode runs, so that help and version answer at once.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from yolopose import completion, helptext
from yolopose.command_line import joined, mode_of_cfg, read_arguments, split_mode
from yolopose.config import (
    MODES,
    BenchmarkConfig,
    ConvertConfig,
    DoctorConfig,
    EvalTracksConfig,
    EvalWiderfaceConfig,
    ExportConfig,
    LabelConfig,
    PredictConfig,
    TrackConfig,
    TrainConfig,
    ValConfig,
    VerifyConfig,
    parse,
    pick,
    required,
)
from yolopose.config.foreign import ABSENT
from yolopose.console import log
from yolopose.errors import PoseError, UsageError, did_you_mean, one_line, shown
from yolopose.termination import terminable
from yolopose.version import __version__

if TYPE_CHECKING:
    from yolopose.api import YOLO
    from yolopose.predict import Predictor


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 done, 1 something failed, 2 wrong usage."""
    try:
        return _run_command(list(sys.argv[1:] if argv is None else argv))
    except PoseError as e:
        log.error(str(e))
        return e.exit_code
    except OSError as e:  # a file that cannot be written, a full disk
        log.error(one_line(e))
        return 1
    except KeyboardInterrupt:
        log.error("interrupted")
        return 130


def _run_command(words: list[str]) -> int:
    """Print help or another text, or run a mode; returns the exit code."""
    help_flags = [word for word in words if word in ("-h", "--help", "--h")]
    mode, rest = split_mode(joined([word for word in words if word not in help_flags]))
    mode = mode or mode_of_cfg(rest)
    bare = [word for word in rest if "=" not in word]
    if mode is None:
        log.info(_text(["help"] if help_flags or not rest else bare))
    elif help_flags or "help" in bare:
        log.info(helptext.of_mode(mode))
    else:
        return COMMANDS[mode](read_arguments(mode, rest))
    return 0


def _text(bare: list[str]) -> str:
    """What a command line without a mode prints. Raises UsageError when its first bare word is no command."""
    command = bare[0].lstrip("-") if bare else ""
    if command == "completion":
        return completion.script(bare[1] if len(bare) > 1 else "")
    if command == "help" and len(bare) > 1 and bare[1] not in TEXTS:
        bare, command = bare[1:], ""
    if command in TEXTS:
        return TEXTS[command]()
    if not bare or bare[0].startswith("--"):
        raise UsageError(f"which mode? one of {', '.join(MODES)}; see 'yolo help'")
    if bare[0] in ABSENT:
        raise UsageError(f"{bare[0]}: {ABSENT[bare[0]]}")
    hint = did_you_mean(bare[0].lstrip("-"), (*MODES, *completion.COMMANDS))
    raise UsageError(f"unknown command {shown(bare[0])}" + (hint or f": one of {', '.join(MODES)}; see 'yolo help'"))


def _opened(model: str | None, *, verbose: bool = True) -> YOLO:
    """The model of a command; a line says when it is one of the package, or a file of yours that has such a name."""
    from yolopose.api import YOLO
    from yolopose.weights import notice

    opened = YOLO(model)
    line = notice(opened.ckpt_path) if opened.ckpt_path else None
    if line and verbose:
        log.info(line)
    return opened


def predict(values: dict[str, Any]) -> int:
    """`yolo predict`: pictures are written unless save=False. Returns 1 when an input failed, otherwise 0."""
    config = parse(PredictConfig, {"save": True, "keep_image": False, **values})
    return _run_all(lambda: _opened(config.model, verbose=config.verbose).predict_with(config))


def track(values: dict[str, Any]) -> int:
    """`yolo track`: videos are written unless save=False. Returns 1 when an input failed, otherwise 0."""
    config = parse(TrackConfig, {"save": True, "keep_image": False, **values})
    return _run_all(lambda: _opened(config.model, verbose=config.verbose).track_with(config))


def _run_all(begin: Callable[[], Predictor]) -> int:
    """Begin a prediction and run it to its end. Returns 1 when an input failed, otherwise 0."""
    with terminable("the files written so far are complete"):
        collecting = gc.isenabled()
        gc.disable()  # importing torch makes so many lasting objects that walking them costs 0.2 s
        try:
            run = begin()
            next(run, None)
        finally:
            if collecting:
                gc.enable()
        with closing(run):  # an interruption completes the files
            for _ in run:
                pass
        return int(run.failed > 0)


def val(values: dict[str, Any]) -> int:
    """`yolo val`."""
    config = parse(ValConfig, values)
    _opened(config.model, verbose=config.verbose).val_with(config)
    return 0


def train(values: dict[str, Any]) -> int:
    """`yolo train`."""
    from yolopose.api import YOLO

    config = parse(TrainConfig, values)
    model = YOLO() if config.resume else _opened(required(config, "model"), verbose=config.verbose)
    model.train_with(config)
    return 0


def export(values: dict[str, Any]) -> int:
    """`yolo export` of a checkpoint, by default the bundled one."""
    from yolopose.formats.table import check_options

    config = parse(ExportConfig, values)
    check_options(config)  # before the network is read, or torch asked for
    log.info(f"saved as {_opened(config.model).export_with(config)}")
    return 0


def verify(values: dict[str, Any]) -> int:
    """`yolo verify`. Returns 1 when the two files do not find the same."""
    from yolopose.evaluate.verify import compare_files
    from yolopose.tiling import TileOptions

    config = parse(VerifyConfig, values)
    if config.a is None or config.b is None:
        raise UsageError("verify compares two model files: yolo verify model.pt model.onnx")
    same = compare_files(
        config.a, config.b, data=config.data, split=config.split, tiling=pick(TileOptions, config),
        device=config.device, out=config.out,
    )  # fmt: skip
    return int(not same)


def benchmark(values: dict[str, Any]) -> int:
    """`yolo benchmark`. Returns 1 when no format could be measured."""
    from yolopose.evaluate.benchmark import benchmark
    from yolopose.formats.pytorch import require_torch
    from yolopose.weights import find, is_bundled

    config = parse(BenchmarkConfig, values)
    require_torch("benchmark")
    path = find(config.model) if config.model else None
    if path and is_bundled(path):
        rows = _opened(config.model).benchmark_with(config)
    else:
        rows = benchmark(replace(config, model=str(path)) if path else config)
    return int(all(row.failure for row in rows))


def doctor(values: dict[str, Any]) -> int:
    """`yolo doctor`. Returns 1 when strict=True and something is wrong with the data, otherwise 0."""
    from yolopose.doctor import examine

    config = parse(DoctorConfig, values)
    data = required(config, "data")
    report = examine(data, data_dir=config.data_dir, out=config.out, exist_ok=config.exist_ok, previews=config.previews)
    log.info(report.text())
    return int(config.strict and bool(report.findings))


def convert(values: dict[str, Any]) -> int:
    """`yolo convert`."""
    from yolopose.convert import from_coco, from_widerface, to_coco

    config = parse(ConvertConfig, values)
    if sum(source is not None for source in (config.coco, config.widerface, config.data)) != 1:
        raise UsageError(
            "name what to convert: coco=FILE.json or widerface=FOLDER with out=FOLDER, or data=DATA.yaml out=FILE.json"
        )
    out = required(config, "out")
    if config.coco is not None:
        from_coco(config.coco, out, images=config.images, split=config.split, exist_ok=config.exist_ok)
    elif config.data is not None:
        to_coco(config.data, out, split=config.split, exist_ok=config.exist_ok)
    elif config.widerface is not None:
        from_widerface(
            config.widerface,
            out,
            landmarks=config.landmarks,
            seed=config.seed,
            stratify=config.stratify,
            copy=config.copy,
            exist_ok=config.exist_ok,
        )
    return 0


def label(values: dict[str, Any]) -> int:
    """`yolo label`."""
    config = parse(LabelConfig, values)
    required(config, "out")
    _opened(config.model, verbose=config.verbose).label_with(config)
    return 0


def eval_widerface(values: dict[str, Any]) -> int:
    """`yolo eval-widerface`."""
    from yolopose.evaluate.widerface import evaluate_files

    config = parse(EvalWiderfaceConfig, values)
    pred, gt = required(config, "pred"), required(config, "gt")
    evaluate_files(pred, gt, images=config.images, normalize=config.normalize)
    return 0


def eval_tracks(values: dict[str, Any]) -> int:
    """`yolo eval-tracks`."""
    from yolopose.evaluate.tracks import evaluate_files

    config = parse(EvalTracksConfig, values)
    evaluate_files(required(config, "pred"), required(config, "gt"), every=config.every, out=config.out)
    return 0


COMMANDS: dict[str, Callable[[dict[str, Any]], int]] = {
    command.__name__.replace("_", "-"): command
    for command in (
        predict,
        track,
        val,
        train,
        export,
        verify,
        benchmark,
        doctor,
        convert,
        label,
        eval_widerface,
        eval_tracks,
    )
}
TEXTS: dict[str, Callable[[], str]] = {
    "help": helptext.overview,
    **dict.fromkeys(("version", "v", "V"), lambda: __version__),
    "checks": helptext.checks,
    "cfg": helptext.all_arguments,
    "formats": helptext.formats,
}
