"""Rules of Ultralytics 8.3 that training follows with compat=True, and what the default does instead."""

from __future__ import annotations

import pytest
import torch
from helpers.builders import make_dataset, make_network

from yolopose import checkpoint
from yolopose.config import TrainConfig, parse
from yolopose.train.loop import Outcome, train


def run(folder, callbacks=None, **values) -> Outcome:
    defaults = {"data": folder / "data" / "data.yaml", "project": folder / "runs", "imgsz": 64, "epochs": 2, "batch": 2,
                "nbs": 2, "workers": 0, "device": "cpu", "plots": False, "optimizer": "SGD",
                "warmup_epochs": 0}  # fmt: skip
    return train(parse(TrainConfig, defaults | values), make_network(), callbacks=callbacks)


@pytest.mark.parametrize("compat", [False, True])
def test_without_positives_the_keypoint_branch_gets_no_gradient(compat, tmp_path):
    """Momentum and weight decay then pass it by, too; by default they go on."""
    make_dataset(tmp_path / "data", 4)
    for path in (tmp_path / "data" / "labels").iterdir():
        path.write_text("")
    gradients, weights = [], []

    def note(run):
        named = dict(run.network.named_parameters())
        gradients.extend(p.grad for name, p in named.items() if ".cv4." in name)
        weights.append({name: p.detach().clone() for name, p in named.items()})

    run(tmp_path, {"on_train_start": [note], "on_before_zero_grad": [note]}, compat=compat)
    steps = gradients[len(gradients) // len(weights) :]
    changed = {name for name, value in weights[-1].items() if not torch.equal(value, weights[0][name])}
    assert steps
    assert all(g is None for g in steps) if compat else all(g is not None and not g.any() for g in steps)
    assert any(".cv3." in name for name in changed)
    assert any(".cv4." in name and name.endswith("conv.weight") for name in changed) != compat


@pytest.mark.parametrize("compat", [False, True])
def test_single_cls_keeps_the_names_of_the_data(compat, tmp_path):
    yaml = make_dataset(tmp_path / "data", 4)
    yaml.write_text(yaml.read_text().replace("names: [thing]", "names: [thing, other]"))
    for number, path in enumerate((tmp_path / "data" / "labels").iterdir()):
        if number % 2:
            path.write_text(path.read_text().replace("0 0.", "1 0."))
    seen = []
    outcome = run(tmp_path, {"on_train_batch_end": [lambda run: seen.append(run.batch.classes)]}, compat=compat,
                  single_cls=True)  # fmt: skip
    names = checkpoint.load_checkpoint(outcome.best).info.names
    assert names == ({0: "thing", 1: "other"} if compat else {0: "object"})
    assert not torch.cat(seen).any()
    assert outcome.metrics.names == names
