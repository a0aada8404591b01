"""Data sets of strangers: data YAMLs, lists of images, label files, label caches and archives, thousands of each."""

import io
import os
import random
import shutil
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fuzz.harness import NUMBERS, campaign, many, mutate
from helpers.builders import make_dataset

from yolopose.data import spec as spec_module
from yolopose.data.archives import unpack
from yolopose.data.cache_files import cache_folder
from yolopose.data.label_cache import cache_key, load_entries
from yolopose.data.labels import scan
from yolopose.data.rows import parse_rows
from yolopose.data.spec import load_data
from yolopose.errors import PoseError
from yolopose.rules import RULES

LAUGHS = "[&a0 [x,x,x,x,x,x,x,x]" + "".join(f", &a{i} [{f'*a{i - 1}, ' * 8}]" for i in range(1, 12)) + "]"
VALUES = (
    *NUMBERS,
    "",
    "~",
    "null",
    "yes",
    ".",
    "..",
    "~/x",
    "~nosuch",
    "images",
    "images/000.jpg",
    "list.txt",
    "/dev/zero",
    "pipe.txt",
    "pipe.jpg",
    "loop",
    "x" * 5000,
    '"a\\0b"',
    '"\\e[31m"',
    '"\\uDCE9"',
    "[]",
    "{}",
    "[[[]]]",
    "[images, 3]",
    "{0: a}",
    "{0: a, 2: b}",
    "{1: [a]}",
    "[a, [b], {c: d}]",
    "[0.1]",
    "[1.e400, .nan]",
    "[[0, 1], [2]]",
    "[1, 0, a]",
    "[1e9, 3]",
    "[100000000, 3]",
    "[5, 2]",
    "[5.0, 3]",
    "[" * 500,
    "[" + "0, " * 5000 + "0]",
    LAUGHS,
    "&a [*a]",
    "!!python/object/apply:os.system [touch pwned]",
    "!!binary aGk=",
    "!!set {a, b}",
    "2001-99-99",
    "0b",
    "<<: *x",
    "http://127.0.0.1:9/x.zip",
    "[{url: 'http://127.0.0.1:9/x.zip', into: ../..}]",
    "[{url: 'http://[::1', sha256: 5}]",
    "[{url: http://h/x, into: /etc}]",
    "[{url: http://h/x, 3: 4}]",
    "| \n  import os\n  os.system('touch pwned')\n",
)
KEYS = {
    "path": ".",
    "train": "images",
    "val": "list.txt",
    "test": "[images/000.jpg, list.txt]",
    "nc": "2",
    "names": "{0: cat, 1: dog}",
    "kpt_shape": "[5, 3]",
    "kpt_names": "[a, b, c, d, e]",
    "flip_idx": "[1, 0, 2, 4, 3]",
    "skeleton": "[[0, 1], [1, 2]]",
    "kpt_oks_sigmas": "[.1, .1, .1, .1, .1]",
    "annotations": "{val: a.json}",
    "download": "[http://127.0.0.1:9/x.zip]",
}


def case_yaml(rng: random.Random) -> bytes:
    lines = dict(KEYS)
    for name in rng.sample(list(lines), rng.choice((1, 1, 2, 3))):
        lines[name] = rng.choice(VALUES)
    text = "".join(f"{name}: {value}\n" for name, value in lines.items() if rng.random() > 0.02).encode()
    return mutate(text, rng) if rng.random() < 0.5 else text


@many
def test_data_yamls(count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spec_module, "_download", lambda *_: None)
    root = tmp_path / "set"
    make_dataset(root, count=2)
    (root / "list.txt").write_text("images/000.jpg\nimages/001.jpg\n")
    (root / "loop").symlink_to(".")
    (root / "images" / "up").symlink_to("..")
    for name in ("pipe.txt", "pipe.jpg"):
        os.mkfifo(root / name)

    def target(text: bytes) -> None:
        (root / "data.yaml").write_bytes(text)
        spec = load_data(root / "data.yaml")
        for name in spec.sources:
            assert len(spec.split(name)) < 100

    target("".join(f"{name}: {value}\n" for name, value in KEYS.items()).encode())  # it is read as it stands
    campaign(target, case_yaml, count, root)
    assert not list(tmp_path.rglob("pwned"))


@many
def test_lists_of_images(count: int, tmp_path: Path) -> None:
    yaml = make_dataset(tmp_path, count=3)
    yaml.write_text(yaml.read_text().replace("train: images", "train: list.txt"))
    good = b"images/000.jpg\n./images/001.jpg\nimages/gone.jpg\r\n\xef\xbb\xbf ~/x.jpg\n/dev/zero\n../../x.png\n"

    def target(text: bytes) -> None:
        (tmp_path / "list.txt").write_bytes(text)
        images = load_data(yaml).split("train")
        assert len(images) == len(set(images))

    campaign(target, lambda rng: mutate(good, rng), count, tmp_path)


ROWS = (
    b"0 0.5 0.5 0.2 0.4 0.45 0.5 2 0.55 0.5 1\n1 .1 .2 .1 .1 0 0 0 .1 .2 2\r\n\n0 .5 .5 1 1 2 2 2 -1 -1 0\n"
    b"0 0.9 0.9 0.3 0.3 0.95 0.9 1 0.85 0.9 1\n0 0.5 0.5 0.2 0.4 0.45 0.5 2 0.55 0.5 1\n"
)


@many
def test_label_files(count: int, tmp_path: Path) -> None:
    file = tmp_path / "a.txt"

    def target(case: tuple[bytes, int, bool]) -> None:
        text, d, compat = case
        file.write_bytes(text)
        labels, bad, duplicates = parse_rows(file, (2, d), 2, rules=RULES[compat])
        n = len(labels)
        assert labels.boxes.shape == (n, 4)
        assert labels.keypoints.shape == (n, 2, 3)
        for values in (labels.boxes, labels.keypoints):
            assert np.isfinite(values).all()
            assert np.abs(values).max(initial=0) <= 1e6
        assert np.isin(labels.classes, (0, 1)).all()
        assert duplicates >= 0
        assert all(str(row).isprintable() and len(str(row)) < 1000 for row in bad)

    def make(rng: random.Random) -> tuple[bytes, int, bool]:
        return mutate(ROWS, rng), rng.choice((3, 3, 2)), rng.random() < 0.3

    target((ROWS, 3, False))
    campaign(target, make, count, tmp_path)


@pytest.fixture
def written(tmp_path: Path) -> tuple[Path, str]:
    """The label cache of a data set with something wrong in it, and its key."""
    yaml = make_dataset(tmp_path / "set", count=4)
    (tmp_path / "set" / "labels" / "002.txt").write_text("0 0.5\n")
    spec = load_data(yaml)
    scan(spec, "train")
    (file,) = cache_folder(spec.path).glob("labels-*.npz")
    return file, cache_key(spec.layout.shape, 1, RULES[False])


def read_cache(file: Path, root: Path, made_for: str) -> None:
    entries = load_entries(root, file.stem, made_for)
    for path, entry in entries.items():
        n = len(entry.labels)
        assert isinstance(path, str)
        assert (entry.labels.boxes.shape, entry.labels.keypoints.shape) == ((n, 4), (n, 5, 3))
        assert np.isfinite(entry.labels.keypoints).all()
        assert (entry.labels.classes == 0).all()


@many
def test_bytes_of_label_caches(count: int, tmp_path: Path, written: tuple[Path, str]) -> None:
    file, made_for = written
    good = file.read_bytes()

    def target(data: bytes) -> None:
        file.write_bytes(data)
        read_cache(file, tmp_path / "set", made_for)

    target(good)
    campaign(target, lambda rng: mutate(good, rng), count, file.parent)
    file.write_bytes(good)
    assert len(load_entries(tmp_path / "set", file.stem, made_for)) == 4


@many
def test_values_of_label_caches(count: int, tmp_path: Path, written: tuple[Path, str]) -> None:
    """Whole files in form, with arrays that no scan has written."""
    file, made_for = written
    with np.load(file, allow_pickle=False) as arrays:
        good = dict(arrays)

    def make(rng: random.Random) -> dict[str, Any]:
        changed = dict(good)
        for name in rng.sample(sorted(good), rng.choice((1, 1, 2))):
            array = good[name]
            match rng.randrange(6):
                case 0:
                    changed[name] = np.frombuffer(mutate(array.tobytes(), rng), np.uint8)
                case 1 if array.dtype.kind in "if":
                    changed[name] = array.astype(rng.choice(("f8", "i4", "u8", "S3", "?", "c8")), copy=True)
                case 2:
                    changed[name] = array.reshape(-1)[: rng.randrange(array.size + 1)]
                case 3 if array.dtype.kind in "if":
                    changed[name] = array * array.dtype.type(
                        rng.choice((-1, 0, 2**30, 3)) if array.dtype.kind == "i" else np.nan
                    )
                case 4:
                    del changed[name]
                case _:
                    changed[name] = np.stack([array] * 2)
        return changed

    def target(arrays: dict[str, Any]) -> None:
        np.savez(file, **arrays)
        read_cache(file, tmp_path / "set", made_for)

    target(good)
    with np.errstate(all="ignore"), warnings.catch_warnings(action="ignore", category=np.exceptions.ComplexWarning):
        campaign(target, make, count, file.parent)


NAMES = (
    "a.txt", "images/b.jpg", "../x.txt", "/x.txt", "C:x.txt", "a/../../x.txt", "..\\x.txt", "", ".", "..", "a/",
    "a.txt/b.txt", "x" * 300 + ".txt", "d/" * 100 + "x.txt", "con.txt", "a\0b.txt", "\x1b[31m.txt", "é.txt", "run.sh",
    ".bashrc", "set/a.jpg", "//h/s/x.txt", "\\\\h\\s\\x.txt", ".. /x.txt", "...", "~/x.txt",
)  # fmt: skip


def case_zip(rng: random.Random) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as packed:
        for name in rng.sample(NAMES, rng.choice((1, 2, 5))) if rng.random() < 0.5 else NAMES[:2]:
            entry = zipfile.ZipInfo(name)
            entry.compress_type = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
            entry.external_attr = rng.choice((0, 0o644, 0o120777, 0o020666, 0o010666, 0o40755)) << 16
            packed.writestr(entry, rng.choice((b"", b"text" * 50, bytes(100_000))))
    data = buffer.getvalue()
    return mutate(data, rng) if rng.random() < 0.7 else data


@many
def test_archives(count: int, tmp_path: Path) -> None:
    archive, out = tmp_path / "x.zip", tmp_path / "out"
    out.mkdir()

    def target(_: bytes) -> None:
        try:
            unpack(archive, out / "set", own_folder="set")
        except OSError as error:  # `fetch` makes a line of it
            raise PoseError(f"cannot be made ({error.strerror})") from None
        found = list((out / "set").rglob("*"))
        assert not any(path.is_symlink() or not (path.is_file() or path.is_dir()) for path in found)

    def make(rng: random.Random) -> bytes:
        shutil.rmtree(out / "set", ignore_errors=True)
        archive.write_bytes(data := case_zip(rng))
        return data

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("yolopose.data.archives.log.info", lambda *_: None)
        campaign(target, make, count, out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "x.zip"]
