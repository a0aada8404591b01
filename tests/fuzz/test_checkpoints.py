"""Checkpoints with faults: bytes of the archive, bytes and opcodes of the pickle, values of our own format."""

from __future__ import annotations

import copy
import io
import itertools
import pickletools
import random
import runpy
import zipfile
from pathlib import Path

import pytest
import torch
from fuzz.harness import campaign, confuse, many, mutate, odd_value
from helpers.foreign_files import save_foreign, tiny

from yolopose import checkpoint
from yolopose.checkpoint import Checkpoint


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """Our own checkpoint, a foreign one, and a plain state dict."""
    folder = tmp_path_factory.mktemp("checkpoints")
    own = folder / "own.pt"
    network = tiny()
    state = {"epoch": 3, "optimizer": {"state": {0: {"step": torch.ones(())}}, "param_groups": [{"lr": 0.1}]}}
    checkpoint.save_checkpoint(
        own, Checkpoint(network.state_dict(), network.spec, network.info, extra={"train_state": state})
    )
    args = {"imgsz": 96, "data": "x.yaml"}
    foreign = save_foreign(folder / "foreign.pt", tiny(), train_args=args, train_results={"epoch": [1, 2]})
    torch.save(network.state_dict(), folder / "plain.pt")
    return [file.read_bytes() for file in (own, foreign, folder / "plain.pt")]


class Reader:
    """Writes a case to a file and does with it what a user would."""

    def __init__(self, folder: Path, name: str = "case.pt") -> None:
        self.path = folder / name

    def __call__(self, data: bytes) -> None:
        self.path.write_bytes(data)
        loaded = checkpoint.load_checkpoint(self.path)
        checkpoint.build_network(loaded)
        checkpoint.load_state(self.path)
        checkpoint.save_checkpoint(self.path.with_name("again.pt"), loaded)


def taken_apart(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed(entries: dict[str, bytes]) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return data.getvalue()


def with_pickle(data: bytes, change) -> bytes:
    entries = taken_apart(data)
    name = next(name for name in entries if name.endswith("data.pkl"))
    return packed(entries | {name: change(entries[name])})


def opcodes(data: bytes, rng: random.Random) -> bytes:
    """A pickle with opcodes removed, doubled, swapped or replaced, arguments and all."""
    found = list(pickletools.genops(data))
    bounds = [place for _, _, place in found] + [len(data)]
    pieces = [data[a:b] for a, b in itertools.pairwise(bounds)]
    for _ in range(rng.choice((1, 1, 2, 5))):
        at, other = rng.randrange(1, len(pieces)), rng.randrange(1, len(pieces))
        match rng.randrange(5):
            case 0:
                del pieces[at]
            case 1:
                pieces.insert(at, pieces[other])
            case 2:
                pieces[at], pieces[other] = pieces[other], pieces[at]
            case 3:
                pieces[at] = rng.choice((b"N", b"\x88", b"]", b"}", b")", b"\x8f", b"G" + b"\x7f\xf0" + bytes(6),
                                         b"\x8a\x09" + b"\xff" * 8 + b"\x7f", b"X\1\0\0\0\n", b"cos\nsystem\n",
                                         b"cultralytics.a\nB\n", b"R", b"b", b"0", b"J\xff\xff\xff\x7f"))  # fmt: skip
            case _:
                pieces[at] = bytes(x ^ (1 << rng.randrange(8)) if rng.random() < 0.2 else x for x in pieces[at])
    return b"".join(pieces)


@many
def test_faults_in_the_bytes(files: list[bytes], tmp_path: Path, count: int) -> None:
    campaign(Reader(tmp_path), lambda rng: mutate(rng.choice(files), rng, files), count, tmp_path)


@many
def test_faults_in_the_pickle(files: list[bytes], tmp_path: Path, count: int) -> None:
    def make(rng: random.Random) -> bytes:
        return with_pickle(rng.choice(files), lambda data: mutate(data, rng))

    campaign(Reader(tmp_path), make, count, tmp_path)


@many
def test_faults_in_the_opcodes(files: list[bytes], tmp_path: Path, count: int) -> None:
    def make(rng: random.Random) -> bytes:
        return with_pickle(rng.choice(files), lambda data: opcodes(data, rng))

    campaign(Reader(tmp_path), make, count, tmp_path)


@many
def test_faults_in_a_bundled_file(files: list[bytes], tmp_path: Path, count: int) -> None:
    """The ONNX file of a bundled model: half of the faults in the entry of its metadata that is the checkpoint."""
    pytest.importorskip("onnx")
    recipe = runpy.run_path(str(Path(__file__).resolve().parents[2] / "recipes" / "bundle.py"))
    (tmp_path / "own.pt").write_bytes(files[0])
    data = recipe["bundle"](tmp_path / "own.pt", "tiny", folder=tmp_path).read_bytes()
    entry = data.rindex(b"yolopose_checkpoint")

    def make(rng: random.Random) -> bytes:
        start = rng.choice((0, entry))
        return data[:start] + mutate(data[start:], rng)

    campaign(Reader(tmp_path, "case.onnx"), make, count, tmp_path)


def odd(rng: random.Random) -> object:
    """What a pickle of torch can hold."""
    tensors = (torch.ones(2), torch.tensor(float("nan")), torch.ones(0, 3), torch.ones(3, dtype=torch.int64))
    return rng.choice(tensors) if rng.random() < 0.2 else odd_value(rng)


@many
def test_faults_in_the_values_of_our_own_format(files: list[bytes], tmp_path: Path, count: int) -> None:
    content = torch.load(io.BytesIO(files[0]), weights_only=True)

    def make(rng: random.Random) -> bytes:
        part = rng.choice(("info", "info", "spec", "spec", "state", "train_args", "extra", None))
        changed = copy.copy(content)
        if part is None:
            changed = confuse({key: content[key] for key in ("format_version", "info")}, rng, odd) | {
                key: content[key] for key in ("format", "state", "spec", "train_args", "extra")
            }
        else:
            changed[part] = confuse(content[part] or {"a": 1}, rng, odd)
        data = io.BytesIO()
        torch.save(changed, data)
        return data.getvalue()

    campaign(Reader(tmp_path), make, count, tmp_path)
