"""PyTorch files that are not what they seem: cut off, compressed, doubled, endless, or something else altogether."""

import io
import random
import struct
import time
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from yolopose.checkpoint import archive
from yolopose.checkpoint.archive import open_archive
from yolopose.checkpoint.records import Name, StandIn, Storage, TensorView
from yolopose.errors import PoseError

EMPTY = b"\x80\x02}."


def write(path, entries, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as zipped:
        for name, data in entries.items():
            zipped.writestr(name, data)
    return path


def saved(path, value):
    torch.save(value, path)
    return path


def refusal(path, words):
    started = time.process_time()
    with pytest.raises(PoseError, match=words) as caught, open_archive(path) as opened:
        opened.plain(opened.root)
    assert time.process_time() - started < 5
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "value",
    [
        torch.arange(6.0).reshape(2, 3),
        torch.arange(6.0).reshape(2, 3).T,
        torch.arange(10)[3:7:2],
        torch.tensor(3.5, dtype=torch.float64),
        torch.empty(0, 4),
        torch.tensor([True, False]),
        torch.randn(5).bfloat16(),
        torch.randn(5).half(),
        torch.tensor([-1], dtype=torch.int8),
        torch.tensor([255], dtype=torch.uint8),
    ],
    ids=lambda value: f"{value.dtype}{list(value.shape)}",
)
def test_tensors_are_read_as_saved(tmp_path, value):
    path = saved(tmp_path / "a.pt", {"value": value, "again": [value]})
    with open_archive(path) as opened:
        found = opened.plain(opened.root)
    assert torch.equal(found["value"], value)
    assert found["value"].dtype == value.dtype
    assert found["value"].is_contiguous()
    assert found["value"].data_ptr() != found["again"][0].data_ptr() or not value.numel()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "an empty file"),
        (b"<!DOCTYPE html>", "not a PyTorch checkpoint .begins with b'<!DOCTYPE html"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (b"PK", "damaged or cut off"),
        (b"PK\x05\x06" + bytes(18), "not a PyTorch checkpoint"),
        (bytes(257) + b"ustar", "before 1.6"),
    ],
)
def test_what_is_no_zip_archive_is_named(tmp_path, content, words):
    path = tmp_path / "a.pt"
    path.write_bytes(content)
    refusal(path, words)


def test_no_file_and_no_right_to_read(tmp_path):
    refusal(tmp_path / "none.pt", "no such file")
    refusal(tmp_path, "cannot be read")


def test_the_old_format_of_torch_is_named(tmp_path):
    path = tmp_path / "old.pt"
    torch.save({"a": torch.ones(1)}, path, _use_new_zipfile_serialization=False)
    refusal(path, "before 1.6; load it and torch.save it again")


def test_other_zip_archives_are_named(tmp_path):
    refusal(write(tmp_path / "a.zip", {"photo.jpg": b"x"}), "a zip archive, but not a PyTorch checkpoint")
    refusal(write(tmp_path / "b.zip", {"a/data.pkl": EMPTY, "b/data.pkl": EMPTY}), "not a PyTorch checkpoint")
    script = {"a/data.pkl": EMPTY, "a/constants.pkl": EMPTY, "a/code/x.py": b""}
    refusal(write(tmp_path / "c.pt", script), "TorchScript")
    refusal(write(tmp_path / "d.pt", {"a/data.pkl": EMPTY, "a/byteorder": b"big"}), "big-endian")


@pytest.mark.parametrize(
    "name", ["../evil", "a/../../evil", "/etc/evil", "a//evil", "a\\..\\evil", "C:/evil", "a/./evil", "a/data/"]
)
def test_names_that_leave_the_archive_are_refused(tmp_path, name):
    path = write(tmp_path / "slip.pt", {"a/data.pkl": EMPTY, name: b"evil"})
    refusal(path, "points outside")
    assert [found.name for found in tmp_path.iterdir()] == ["slip.pt"]
    assert not list(tmp_path.parent.glob("evil"))


def test_compressed_bombs_are_refused(tmp_path):
    bomb = {"a/data.pkl": b"\x80\x02" + b"N" * 50_000_000 + b"."}
    path = write(tmp_path / "bomb.pt", bomb, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 100_000
    refusal(path, "compressed or encrypted")


def test_entries_that_claim_more_than_the_file_has_are_refused(tmp_path):
    path = write(tmp_path / "lie.pt", {"a/data.pkl": EMPTY, "a/data/0": b"1234"})
    data = bytearray(path.read_bytes())
    at = data.rindex(b"PK\x01\x02")
    data[at + 20 : at + 28] = struct.pack("<II", 1 << 30, 1 << 30)
    path.write_bytes(data)
    refusal(path, "claim more bytes")


def test_a_pickle_that_is_too_large_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "MAX_PICKLE", 100)
    refusal(write(tmp_path / "a.pt", {"a/data.pkl": b"\x80\x02" + b"N" * 200 + b"."}), "its pickle has 203 bytes")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_entries_twice_are_refused(tmp_path):
    path = tmp_path / "twice.pt"
    with zipfile.ZipFile(path, "w") as zipped:
        zipped.writestr("a/data.pkl", EMPTY)
        zipped.writestr("a/data.pkl", EMPTY)
    refusal(path, "there twice")


def test_an_endless_directory_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "MAX_ARCHIVE_READ", 1 << 16)
    path = write(tmp_path / "many.pt", {"a/data.pkl": EMPTY} | {f"a/data/{i:040}": b"" for i in range(1000)})
    refusal(path, "bytes of directory")


def test_cut_off_files_are_refused(tmp_path):
    whole = saved(tmp_path / "whole.pt", {"a": torch.arange(1000.0)}).read_bytes()
    for end in range(2, len(whole) - 1, 97):
        path = tmp_path / "cut.pt"
        path.write_bytes(whole[:end])
        refusal(path, "damaged|not a PyTorch")


def test_damaged_numbers_are_noticed(tmp_path):
    path = saved(tmp_path / "a.pt", {"a": torch.arange(1000.0)})
    data = bytearray(path.read_bytes())
    at = data.index(np.arange(1000, dtype="<f4").tobytes())
    data[at + 2000] ^= 1
    path.write_bytes(data)
    refusal(path, "damaged or cut off")


def test_damage_anywhere_gives_a_refusal_or_the_value(tmp_path):
    value = {"a": torch.arange(50.0), "b": "text"}
    whole = saved(tmp_path / "whole.pt", value).read_bytes()
    rng = random.Random(0)
    refused = 0
    for _ in range(600):
        data = bytearray(whole)
        for _ in range(rng.choice([1, 1, 3])):
            data[rng.randrange(len(data))] = rng.randrange(256)
        (tmp_path / "a.pt").write_bytes(data)
        try:
            with open_archive(tmp_path / "a.pt") as opened:
                opened.plain(opened.root)
        except PoseError:
            refused += 1
    assert refused > 300


def altered(tmp_path, change):
    """A saved tensor whose archive has been rewritten with `change(entries)`."""
    path = saved(tmp_path / "a.pt", {"a": torch.arange(4.0)})
    with zipfile.ZipFile(path) as zipped:
        entries = {entry.filename: zipped.read(entry) for entry in zipped.infolist()}
    change(entries)
    return write(tmp_path / "b.pt", entries)


def test_tensor_data_must_be_there_and_of_the_right_size(tmp_path):
    refusal(altered(tmp_path, lambda entries: entries.pop("a/data/0")), "'0' is missing")
    refusal(altered(tmp_path, lambda entries: entries.update({"a/data/0": bytes(12)})), "4 numbers of float32 need 16")
    refusal(altered(tmp_path, lambda entries: entries.update({"a/data/0": bytes(20)})), "4 numbers of float32 need 16")


def opened_with(tmp_path, root=None):
    path = saved(tmp_path / "a.pt", {"a": torch.arange(1000.0)})
    return open_archive(path)


def test_one_storage_has_one_type_and_size(tmp_path):
    with opened_with(tmp_path) as opened:
        opened.tensor(opened.root["a"])
        with pytest.raises(PoseError, match=r"two types or sizes"):
            opened.tensor(TensorView(Storage("int32", "0", 1000), 0, (1,), (1,)))
        with pytest.raises(PoseError, match=r"two types or sizes"):
            opened.tensor(TensorView(Storage("float32", "0", 999), 0, (1,), (1,)))


def test_many_views_of_one_storage_are_refused(tmp_path):
    with opened_with(tmp_path) as opened, pytest.raises(PoseError, match="take more room than the file has"):
        opened.plain([opened.root["a"]] * 100)


def test_structures_without_end_are_refused(tmp_path):
    loop: list = []
    loop.append(loop)
    laughs: tuple = ()
    for _ in range(40):
        laughs = (laughs, laughs)
    deep: list = []
    for _ in range(1000):
        deep = [deep]
    with opened_with(tmp_path) as opened:
        for bomb in (loop, laughs, deep, {"a": StandIn(Name("x", "Namespace"), state={"loop": loop})}):
            started = time.process_time()
            with pytest.raises(PoseError, match=r"a\.pt: refused: its data are nested without end"):
                opened.plain(bomb)
            assert time.process_time() - started < 5


def test_records_become_plain_values(tmp_path):
    space = StandIn(Name("ultralytics.utils", "IterableSimpleNamespace"), state={"imgsz": (640, {"a": 1})})
    numbers = StandIn(Name("numpy", "ndarray"), state={"values": [1, 2]})
    other = StandIn(Name("ultralytics.utils.loss", "v8PoseLoss"))
    with opened_with(tmp_path) as opened:
        found = opened.plain(
            {"args": space, "numbers": numbers, "loss": other, "set": {1}, "type": Name("torch", "half")}
        )
    assert found == {
        "args": {"imgsz": (640, {"a": 1})},
        "numbers": [1, 2],
        "loss": "ultralytics.utils.loss.v8PoseLoss",
        "set": [1],
        "type": "torch.half",
    }


def test_a_namespace_saved_by_python_itself_is_refused_by_name(tmp_path):
    """Only stand-ins for the classes of the system that wrote the file; nothing else has an excuse to be there."""
    refusal(saved(tmp_path / "a.pt", {"args": SimpleNamespace(a=1)}), "'types.SimpleNamespace'")
    refusal(saved(tmp_path / "b.pt", {"f": io.StringIO}), "'_io.StringIO'")
