import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from yolopose.data.labelcache import Entry, Stat, key, load, save
from yolopose.data.rows import BadRow, Labels

whole = st.integers(0, 2**62)
texts = st.text(max_size=8).filter(lambda text: text.isprintable())


@st.composite
def entries(draw: st.DrawFn) -> Entry:
    n = draw(st.integers(0, 3))
    rng = np.random.default_rng(draw(st.integers(0, 100)))
    labels = Labels(rng.integers(0, 9, n), rng.random((n, 4), np.float32), rng.random((n, 2, 3), np.float32))
    bad = draw(st.lists(st.builds(BadRow, texts, st.integers(0, 99), texts, st.booleans()), max_size=2))
    hw = draw(st.tuples(st.integers(0, 9999), st.integers(0, 9999)))
    return Entry(draw(st.builds(Stat, whole, whole, whole, whole)), hw, labels, bad, draw(st.integers(0, 3)))


@settings(max_examples=25)
@given(st.dictionaries(texts, entries(), min_size=1, max_size=4))
def test_what_is_saved_comes_back(tmp_path_factory, wanted: dict[str, Entry]) -> None:
    root = tmp_path_factory.mktemp("root")
    save(root, "x", key((2, 3), 9, False), wanted)
    found = load(root, "x", key((2, 3), 9, False))
    assert list(found) == list(wanted)
    for a, b in zip(found.values(), wanted.values(), strict=True):
        assert (a.stat, a.hw, a.bad, a.duplicates) == (b.stat, b.hw, b.bad, b.duplicates)
        for name in ("classes", "boxes", "keypoints"):
            np.testing.assert_array_equal(getattr(a.labels, name), getattr(b.labels, name))
            assert getattr(a.labels, name).dtype == getattr(b.labels, name).dtype
    assert load(root, "x", key((2, 3), 9, True)) == {}
    assert load(root, "y", key((2, 3), 9, False)) == {}
