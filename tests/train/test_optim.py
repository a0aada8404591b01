"""Parameter groups, optimizers, the schedule compared with recorded rates, and averaged weights."""

import copy
import csv
import io
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from yolopose.config import TrainConfig, pick
from yolopose.errors import PoseError, UsageError
from yolopose.nn.network import PoseNet
from yolopose.nn.spec import load_spec
from yolopose.rules import DEFAULT, REFERENCE
from yolopose.train.optim import (
    OPTIMIZERS,
    Ema,
    OptimOptions,
    Recipe,
    Schedule,
    accumulation,
    build_optimizer,
    parameter_groups,
    resolve,
)

CLASSIC = Recipe("SGD", 0.01, 0.937, 0.0005, 0.1)


def options(**values) -> OptimOptions:
    return pick(OptimOptions, TrainConfig(**values))


def small_network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 1))


def step(network, optimizer, seed):
    network.train()
    x = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(seed))
    optimizer.zero_grad()
    network(x).square().sum().backward()
    optimizer.step()


# --- groups and optimizers


def test_groups_of_the_network():
    network = PoseNet(load_spec("yolov8n-pose.yaml"))
    groups = parameter_groups(network)
    assert [len(group) for group in groups] == [72, 72, 63]  # as Ultralytics 8.3, less its one frozen weight
    together = [id(p) for group in groups for p in group]
    assert sorted(together) == sorted(id(p) for p in network.parameters() if p.requires_grad)
    norms = {id(m.weight) for m in network.modules() if isinstance(m, nn.BatchNorm2d)}
    assert {id(p) for p in groups[2]} == norms


def test_only_weights_decay():
    optimizer = build_optimizer(small_network(), CLASSIC)
    assert [g["weight_decay"] for g in optimizer.param_groups] == [0.0, 0.0005, 0.0]


def test_frozen_parameters_belong_to_no_group():
    network = small_network()
    network[0].requires_grad_(False)
    assert [len(group) for group in parameter_groups(network)] == [2, 1, 1]
    network.requires_grad_(False)
    with pytest.raises(PoseError, match="freeze"):
        build_optimizer(network, CLASSIC)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_learns(name):
    network = small_network()
    optimizer = build_optimizer(network, replace(CLASSIC, name=name))
    assert type(optimizer) is OPTIMIZERS[name]
    x = torch.randn(2, 3, 4, 4)
    before = network(x).square().sum().item()
    for seed in range(30):
        step(network, optimizer, seed)
    assert network(x).square().sum().item() < before


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_resumed_optimizer_continues_bit_for_bit(name):
    recipe = replace(CLASSIC, name=name)
    network = small_network()
    optimizer = build_optimizer(network, recipe)
    for seed in range(3):
        step(network, optimizer, seed)
    file = io.BytesIO()
    torch.save({"network": network.state_dict(), "optimizer": optimizer.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    resumed = small_network()
    resumed.load_state_dict(saved["network"])
    other = build_optimizer(resumed, recipe)
    other.load_state_dict(saved["optimizer"])
    for seed in range(3, 6):
        step(network, optimizer, seed)
        step(resumed, other, seed)
    for a, b in zip(network.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_sgd_is_nesterovs():
    weight = nn.Parameter(torch.tensor([[1.0]], dtype=torch.float64))
    holder = nn.Module()
    holder.weight = weight
    optimizer = build_optimizer(holder, Recipe("SGD", 0.1, 0.9, 0.01, 0.0))
    value, velocity = 1.0, 0.0
    for _ in range(5):
        optimizer.zero_grad()
        (weight**2).sum().backward()
        optimizer.step()
        slope = 2 * value + 0.01 * value
        velocity = 0.9 * velocity + slope
        value -= 0.1 * (slope + 0.9 * velocity)
    assert weight.item() == pytest.approx(value, rel=1e-12)


def test_impossible_momentum_is_a_usage_error():
    with pytest.raises(UsageError, match=r"momentum=1.0"):
        build_optimizer(small_network(), replace(CLASSIC, name="AdamW", momentum=1.0))
    build_optimizer(small_network(), replace(CLASSIC, momentum=0.0))


# --- the recipe


@pytest.mark.parametrize(("batch", "nbs", "steps"), [(8, 64, 8), (3, 64, 21), (4, 6, 2), (4, 10, 2), (128, 64, 1)])
def test_accumulation_and_decay_follow_the_nominal_batch(batch, nbs, steps):
    assert accumulation(batch, nbs) == steps
    recipe = resolve(options(optimizer="SGD", nbs=nbs), images=8, batch=batch, classes=1)
    assert recipe == Recipe("SGD", 0.01, 0.937, pytest.approx(0.0005 * batch * steps / nbs), 0.1)


@pytest.mark.parametrize(
    ("epochs", "batch", "nbs", "name"),
    [  # 8 images; as Ultralytics 8.3 decided
        (3, 8, 64, "AdamW"),
        (2000, 1, 64, "AdamW"),
        (10_001, 1, 64, "SGD"),
        (10_000, 8, 64, "AdamW"),
        (10_001, 8, 64, "SGD"),
        (5001, 4, 4, "SGD"),
    ],
)
def test_auto_chooses_by_the_number_of_iterations(epochs, batch, nbs, name):
    recipe = resolve(options(epochs=epochs, nbs=nbs), images=8, batch=batch, classes=1)
    assert (recipe.name, recipe.lr0) == (name, 0.01 if name == "SGD" else 0.002)
    assert (recipe.momentum, recipe.warmup_bias_lr) == (0.9, 0.0)


def test_auto_scales_with_the_classes():
    assert resolve(options(), images=8, batch=8, classes=80).lr0 == 0.000119


def test_auto_honours_what_the_user_gave():
    chosen = options(lr0=0.003, momentum=0.8, warmup_bias_lr=0.05, given=frozenset({"lr0", "momentum"}))
    recipe = resolve(chosen, images=8, batch=8, classes=1)
    assert (recipe.name, recipe.lr0, recipe.momentum, recipe.warmup_bias_lr) == ("AdamW", 0.003, 0.8, 0.0)
    recipe = resolve(chosen, images=8, batch=8, classes=1, rules=REFERENCE)
    assert (recipe.lr0, recipe.momentum) == (0.002, 0.9)


# --- the schedule


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_recorded_rates(golden, number):
    """results.csv records the rates of an epoch's last batch; these runs have one batch of 8 images per epoch."""
    known = TrainConfig.__dataclass_fields__
    args = yaml.safe_load((golden / f"trajectory-{number}-args.yaml").read_text())
    chosen = options(**{k: v for k, v in args.items() if k in known and v is not None})
    recipe = resolve(chosen, images=8, batch=args["batch"], classes=1, rules=REFERENCE)
    schedule = Schedule(chosen, recipe, batch=args["batch"], batches=1, rules=REFERENCE)
    optimizer = build_optimizer(small_network(), recipe)
    rows = list(csv.DictReader((golden / f"trajectory-{number}.csv").read_text().splitlines()))
    assert len(rows) == chosen.epochs
    for epoch, row in enumerate(rows):
        schedule.apply(optimizer, epoch, epoch)
        rates = [group["lr"] for group in optimizer.param_groups]
        assert rates == pytest.approx([float(row[f"lr/pg{i}"]) for i in range(3)], abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(
    batches=st.integers(1, 90),
    warmup=st.floats(0.1, 5),
    batch=st.integers(1, 128),
    cosine=st.booleans(),
    iteration=st.integers(0, 900),
)
def test_warmup_interpolates(batches, warmup, batch, cosine, iteration):
    chosen = options(optimizer="SGD", warmup_epochs=warmup, cos_lr=cosine, epochs=1000)
    schedule = Schedule(chosen, CLASSIC, batch=batch, batches=batches)
    epoch = iteration // batches
    rates = schedule.at(iteration, epoch)
    span = [0, max(round(warmup * batches), 100)]
    lr = 0.01 * schedule.factor(epoch)
    assert rates.lr[0] == pytest.approx(np.interp(iteration, span, [0.1, lr]), rel=1e-12)
    assert rates.lr[1] == rates.lr[2] == pytest.approx(np.interp(iteration, span, [0, lr]), rel=1e-12, abs=1e-15)
    assert rates.momentum == pytest.approx(np.interp(iteration, span, [0.8, 0.937]), rel=1e-12)
    assert rates.accumulate == max(int(np.interp(iteration, span, [1, 64 / batch]).round()), 1)


def test_no_warmup():
    chosen = options(optimizer="SGD", warmup_epochs=0)
    schedule = Schedule(chosen, CLASSIC, batch=16, batches=5)
    assert schedule.at(0, 0) == ((0.01, 0.01, 0.01), 0.937, 4)


@pytest.mark.parametrize("cosine", [False, True])
def test_factor_falls_from_one_to_lrf(cosine):
    chosen = options(optimizer="SGD", epochs=10, lrf=0.05, cos_lr=cosine)
    schedule = Schedule(chosen, CLASSIC, batch=16, batches=5)
    factors = [schedule.factor(epoch) for epoch in range(11)]
    assert factors == sorted(factors, reverse=True)
    assert (factors[0], factors[5], factors[10]) == pytest.approx((1, 0.525, 0.05))


def test_warmup_moves_momentum_but_not_betas():
    chosen = options(optimizer="SGD")
    schedule = Schedule(chosen, CLASSIC, batch=16, batches=5)
    for name, key in (("SGD", "momentum"), ("RMSProp", "momentum"), ("AdamW", "betas")):
        optimizer = build_optimizer(small_network(), replace(CLASSIC, name=name))
        assert schedule.apply(optimizer, 0, 0) == 1
        assert {group[key] for group in optimizer.param_groups} == {0.8 if key == "momentum" else (0.937, 0.999)}


def test_compat_warms_the_momentum_of_auto_up_to_the_argument():
    for rules, end in ((DEFAULT, 0.9), (REFERENCE, 0.937)):
        recipe = resolve(options(epochs=10_001), images=8, batch=8, classes=1, rules=rules)
        schedule = Schedule(options(epochs=10_001), recipe, batch=8, batches=1, rules=rules)
        assert schedule.at(500, 500).momentum == end


# --- averaged weights


def test_ema_follows_its_formula():
    network = small_network()
    ema = Ema(network)
    optimizer = build_optimizer(network, CLASSIC)
    expected = {k: v.double() for k, v in copy.deepcopy(network.state_dict()).items()}
    for update in range(1, 6):
        step(network, optimizer, update)
        ema.update(network)
        decay = 0.9999 * (1 - math.exp(-update / 2000))
        for key, value in network.state_dict().items():
            expected[key] = expected[key] * decay + (1 - decay) * value if value.is_floating_point() else value
    assert ema.updates == 5
    for key, value in ema.model.state_dict().items():
        torch.testing.assert_close(value.double(), expected[key].double(), rtol=1e-6, atol=1e-7)
    assert not ema.model.training
    assert not any(p.requires_grad for p in ema.model.parameters())


def test_ema_weighs_later_updates_less():
    network = small_network()
    ema = Ema(network)
    ema.updates = 100_000
    before = ema.model[0].weight.clone()
    with torch.no_grad():
        network[0].weight += 1
    ema.update(network)
    torch.testing.assert_close(ema.model[0].weight - before, torch.full_like(before, 1e-4), rtol=0.01, atol=0)


def test_a_resumed_ema_continues_bit_for_bit():
    network = small_network()
    ema, optimizer = Ema(network), build_optimizer(network, CLASSIC)
    step(network, optimizer, 0)
    ema.update(network)
    file = io.BytesIO()
    torch.save(ema.model.state_dict(), file)
    file.seek(0)
    other = Ema(small_network())
    other.model.load_state_dict(torch.load(file, weights_only=True))
    other.updates = ema.updates
    step(network, optimizer, 1)
    ema.update(network)
    other.update(network)
    assert other.updates == 2
    for a, b in zip(ema.model.state_dict().values(), other.model.state_dict().values(), strict=True):
        assert torch.equal(a, b)
