from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yolopose.data.cache_files import cache_folder
from yolopose.data.label_cache import Entry, cache_key, load_entries, save_entries
from yolopose.data.rows import BadRow, Labels, no_labels
from yolopose.rules import DEFAULT, REFERENCE

whole = st.integers(0, 2**62)
texts = st.text(max_size=8).filter(lambda text: text.isprintable())


@st.composite
def entries(draw: st.DrawFn) -> Entry:
    n = draw(st.integers(0, 3))
    rng = np.random.default_rng(draw(st.integers(0, 100)))
    ignore = rng.random((draw(st.integers(0, 2)), 5), np.float32)
    labels = Labels(rng.integers(0, 9, n), rng.random((n, 4), np.float32), rng.random((n, 2, 3), np.float32), ignore)
    bad = draw(st.lists(st.builds(BadRow, texts, st.integers(0, 99), texts, st.booleans()), max_size=2))
    hw = draw(st.tuples(st.integers(0, 9999), st.integers(0, 9999)))
    return Entry(draw(st.tuples(*[whole] * 9)), hw, labels, bad, draw(st.integers(0, 3)))


@settings(max_examples=25)
@given(st.dictionaries(texts, entries(), min_size=1, max_size=4))
def test_saved_entries_are_loaded_unchanged(tmp_path_factory, wanted: dict[str, Entry]) -> None:
    root = tmp_path_factory.mktemp("root")
    save_entries(root, "x", cache_key((2, 3), 9, DEFAULT), wanted)
    found = load_entries(root, "x", cache_key((2, 3), 9, DEFAULT))
    assert list(found) == list(wanted)
    for a, b in zip(found.values(), wanted.values(), strict=True):
        assert (a.stats, a.hw, a.bad, a.duplicates) == (b.stats, b.hw, b.bad, b.duplicates)
        for name in ("classes", "boxes", "keypoints", "ignore"):
            np.testing.assert_array_equal(getattr(a.labels, name), getattr(b.labels, name))
            assert getattr(a.labels, name).dtype == getattr(b.labels, name).dtype
    assert load_entries(root, "x", cache_key((2, 3), 9, REFERENCE)) == {}
    assert load_entries(root, "y", cache_key((2, 3), 9, DEFAULT)) == {}


def hostile(**changes: object) -> dict[str, np.ndarray]:
    """The arrays of a good cache of two images, some of them changed."""
    arrays: dict[str, Any] = {
        "key": np.array(cache_key((2, 3), 9, DEFAULT)),
        "paths": b'["a.jpg", "b.jpg"]',
        "stats": np.zeros((2, 9), np.int64),
        "hw": np.full((2, 2), 50, np.int32),
        "counts": np.array([1, 2], np.int64),
        "ignored": np.array([0, 1], np.int64),
        "classes": np.zeros(3, np.int64),
        "boxes": np.full((3, 4), 0.5, np.float32),
        "keypoints": np.zeros((3, 2, 3), np.float32),
        "ignore": np.full((1, 5), 0.5, np.float32),
        "notes": b'[[0, 1, [["a.txt", 1, "bad", false]]]]',
    }
    arrays |= changes
    return {name: np.frombuffer(a, np.uint8) if isinstance(a, bytes) else a for name, a in arrays.items()}


def put(root: Path, arrays: dict[str, np.ndarray]) -> None:
    cache_folder(root).mkdir(parents=True, exist_ok=True)
    np.savez(cache_folder(root) / "x.npz", allow_pickle=True, **arrays)


def test_a_cache_as_a_scan_writes_it_is_read(tmp_path: Path) -> None:
    put(tmp_path, hostile())
    assert list(load_entries(tmp_path, "x", cache_key((2, 3), 9, DEFAULT))) == ["a.jpg", "b.jpg"]


@pytest.mark.parametrize(
    "changes",
    [
        {"classes": np.zeros(2, np.int64)},
        {"classes": np.full(3, 9, np.int64)},
        {"classes": np.full(3, -1, np.int64)},
        {"classes": np.zeros(3)},
        {"boxes": np.zeros((3, 5), np.float32)},
        {"boxes": np.full((3, 4), np.nan, np.float32)},
        {"boxes": np.full((3, 4), 7, np.float32)},
        {"boxes": np.zeros((3, 4))},
        {"keypoints": np.zeros((3, 5, 3), np.float32)},
        {"keypoints": np.full((3, 2, 3), np.inf, np.float32)},
        {"keypoints": np.array([None] * 3)},
        {"ignore": np.full((1, 4), 0.5, np.float32)},
        {"ignore": np.full((1, 5), 2, np.float32)},
        {"ignore": np.full((1, 5), np.nan, np.float32)},
        {"ignored": np.array([0, 2], np.int64)},
        {"ignored": np.array([-1, 2], np.int64)},
        {"hw": np.full((2, 2), -5, np.int32)},
        {"hw": np.full((2, 3), 5, np.int32)},
        {"hw": np.array("50")},
        {"stats": np.zeros((2, 4), np.int64)},
        {"counts": np.array([-1, 4], np.int64)},
        {"counts": np.array([2, 2], np.int64)},
        {"counts": np.array([2**62, 2**62], np.int64)},
        {"counts": np.array([3], np.int64)},
        {"paths": b'["a.jpg", 3]'},
        {"paths": b'["a.jpg", "a.jpg"]'},
        {"paths": b"{}"},
        {"paths": b"[" * 100_000},
        {"paths": b"\xff"},
        {"notes": b"[[0, 1]]"},
        {"notes": b'[[0, "1", []]]'},
        {"notes": b'[[0, 1, [["a.txt", "1", "bad", false]]]]'},
        {"notes": b'[[0, 1, [["a.txt", 1, ["bad"], false]]]]'},
        {"key": np.array([1, 2])},
    ],
)
def test_a_cache_that_no_scan_has_written_is_dropped_whole(tmp_path: Path, changes: dict[str, Any]) -> None:
    put(tmp_path, hostile(**changes))
    assert load_entries(tmp_path, "x", cache_key((2, 3), 9, DEFAULT)) == {}


def test_pickled_objects_are_not_read(tmp_path: Path) -> None:
    put(tmp_path, hostile(notes=np.array([Path("x")], object)))
    assert load_entries(tmp_path, "x", cache_key((2, 3), 9, DEFAULT)) == {}


def test_entries_of_files_that_could_not_be_read_are_not_kept(tmp_path: Path) -> None:
    bad = BadRow("a.txt", 0, "cannot be read", unreadable=True)
    save_entries(tmp_path, "x", "[2, 2, 3, 9, false]", {"a": Entry(tuple(range(6)), (0, 0), no_labels(2), [bad])})
    assert load_entries(tmp_path, "x", "[2, 2, 3, 9, false]") == {}
