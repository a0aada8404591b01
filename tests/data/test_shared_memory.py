import gc
import multiprocessing
import os
import pickle
from pathlib import Path

import pytest

from yolopose.data import shared_memory
from yolopose.data.shared_memory import SharedBytes


def write(memory: SharedBytes, place: int, value: int) -> None:
    memory.array[place] = value


@pytest.mark.parametrize("anonymous", [True, False])
def test_a_copy_sees_the_same_bytes(anonymous: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not anonymous:
        monkeypatch.delattr(shared_memory.os, "memfd_create")
    memory = SharedBytes(1000)
    assert not memory.array.any()
    twin = pickle.loads(pickle.dumps(memory))
    write(twin, 999, 7)
    assert memory.array[999] == 7
    path = memory._path
    assert os.path.exists(path)
    del memory, twin
    gc.collect()
    assert not os.path.exists(path)


def test_a_file_stays(tmp_path: Path) -> None:
    file = tmp_path / "bytes"
    file.write_bytes(bytes(10))
    memory = SharedBytes(10, file)
    write(memory, 3, 9)
    del memory
    gc.collect()
    assert file.read_bytes() == b"\0\0\0\x09\0\0\0\0\0\0"


@pytest.mark.slow
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_process_started_afresh_sees_the_same_bytes(method: str) -> None:
    memory = SharedBytes(100)
    process = multiprocessing.get_context(method).Process(target=write, args=(memory, 5, 8))
    process.start()
    process.join()
    assert memory.array[5] == 8
