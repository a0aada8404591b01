"""The list of events, and the callbacks of validation and export through `YOLO`."""

from __future__ import annotations

import pytest
from helpers.builders import make_dataset, make_network

from yolopose import YOLO
from yolopose.callbacks import EVENTS, Hooks, check_events
from yolopose.checkpoint import Checkpoint, save_checkpoint
from yolopose.errors import UsageError


@pytest.fixture
def model(tmp_path):
    network = make_network()
    save_checkpoint(tmp_path / "m.pt", Checkpoint(network.state_dict(), network.spec, network.info))
    return YOLO(tmp_path / "m.pt")


def test_functions_are_called_in_their_order_with_the_subject():
    seen = []
    hooks = Hooks({"on_val_end": [lambda x: seen.append(("a", x)), lambda x: seen.append(("b", x))]})
    hooks("on_val_start", 1)
    hooks("on_val_end", 2)
    assert seen == [("a", 2), ("b", 2)]


def test_a_name_that_is_no_event_is_refused():
    check_events(EVENTS)
    with pytest.raises(UsageError, match="did you mean 'on_predict_end'"):
        check_events(["on_predict_ends"])


def test_val_calls_its_events(model, tmp_path):
    seen = []
    for event in ("on_val_start", "on_val_batch_start", "on_val_batch_end", "on_val_end"):
        model.add_callback(event, lambda v, event=event: seen.append((event, v.batch_i, v.seen, v.metrics is not None)))
    data = make_dataset(tmp_path / "data", 6, hw=(64, 64))
    model.val(data=data, imgsz=64, batch=4, plots=False)
    assert seen == [
        ("on_val_start", -1, 0, False),
        ("on_val_batch_start", 0, 0, False), ("on_val_batch_end", 0, 4, False),
        ("on_val_batch_start", 1, 4, False), ("on_val_batch_end", 1, 6, False),
        ("on_val_end", 1, 6, True),
    ]  # fmt: skip


def test_export_calls_its_events(model, tmp_path):
    seen = []
    model.add_callback("on_export_start", lambda e: seen.append((e.args.format, e.file)))
    model.add_callback("on_export_end", lambda e: seen.append((e.args.format, e.file)))
    file = model.export(format="torchscript", imgsz=64, verify=False)
    assert [(format, path and str(path)) for format, path in seen] == [
        ("torchscript", None), ("torchscript", str(file)),
    ]  # fmt: skip
