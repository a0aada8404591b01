import os
from pathlib import Path

import pytest

from yolopose.errors import PoseError
from yolopose.sources.files import expand


@pytest.fixture
def tree(tmp_path):
    for name in [
        "b.jpg",
        "a.PNG",
        "c.mp4",
        "notes.md",
        ".hidden.jpg",
        "sub/d.jpeg",
        "sub/deep/é [1].tiff",
        "none/x.txt",
    ]:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return tmp_path


def found(items, tree):
    return [(item.kind, os.path.relpath(item.value, tree)) for item in items]


def test_folder_is_sorted_and_flat(tree):
    assert found(expand(str(tree)), tree) == [("image", "a.PNG"), ("image", "b.jpg"), ("video", "c.mp4")]


def test_glob_reaches_any_depth(tree):
    everything = found(expand(f"{tree}/**/*"), tree)
    assert everything == sorted(everything, key=lambda pair: pair[1])
    assert [name for _, name in everything] == ["a.PNG", "b.jpg", "c.mp4", "sub/d.jpeg", "sub/deep/é [1].tiff"]
    assert found(expand(f"{tree}/*.jp*g"), tree) == [("image", "b.jpg")]


def test_a_name_with_brackets_is_a_file_first(tree):
    assert found(expand(f"{tree}/sub/deep/é [1].tiff"), tree) == [("image", "sub/deep/é [1].tiff")]


def test_home_folder(tree, monkeypatch):
    monkeypatch.setenv("HOME", str(tree))
    assert found(expand("~/b.jpg"), tree) == found(expand("~/b.*"), tree) == [("image", "b.jpg")]


@pytest.mark.parametrize(
    ("start", "kind"),
    [
        (b"\0\0\0\x18ftypisom", "video"),
        (b"\0\0\0\x18ftypavif", "image"),
        (b"\x1aE\xdf\xa3", "video"),
        (b"RIFF\0\0\0\0AVI ", "video"),
        (b"RIFF\0\0\0\0WEBP", "image"),
        (b"\xff\xd8\xff", "image"),
        (b"", "image"),
    ],
)
def test_files_of_unknown_suffix_are_recognised_by_their_first_bytes(start, kind, tmp_path):
    path = tmp_path / "upload.part"
    path.write_bytes(start)
    assert expand(str(path))[0].kind == kind


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gone.jpg", r"gone\.jpg: no such file or folder"),
        ("none", r"none: no images or videos in this folder; .*\*\*"),
        ("**/*.webp", r"no image or video matches"),
        ("*.md", r"no image or video matches"),
    ],
)
def test_paths_without_any_file_are_named(text, message, tree):
    with pytest.raises(PoseError, match=message) as caught:
        expand(f"{tree}/{text}")
    assert "\n" not in str(caught.value)


def test_paths_in_a_list_are_relative_to_the_list_then_to_the_current_folder(tree, monkeypatch, tmp_path_factory):
    here = tmp_path_factory.mktemp("here")
    (here / "e.jpg").touch()
    (here / "b.jpg").touch()  # passed over: the one beside the list comes first
    monkeypatch.chdir(here)
    listing = tree / "list.txt"
    lines = ["\ufeff# a comment", "", "b.jpg", "  e.jpg  ", "sub/*.jpeg", "sub/deep", "gone.jpg", "http://x/y.jpg?z=1"]
    listing.write_text("\n".join([*lines, str(tree / "c.mp4"), "list.txt"]), encoding="utf-8")
    items = expand(str(listing))
    assert [item.kind for item in items] == ["image"] * 4 + ["error", "url", "video", "error"]
    assert [item.name for item in items[4:6]] == ["gone.jpg", "http://x/y.jpg"]
    paths = [Path(items[place].value).resolve() for place in (0, 1, 2, 3, 6)]
    assert paths == [tree / "b.jpg", here / "e.jpg", tree / "sub/d.jpeg", tree / "sub/deep/é [1].tiff", tree / "c.mp4"]
    assert "list inside a list" in items[7].value


@pytest.mark.parametrize(
    "table",
    [
        "id,Image,score\n1,a.PNG,.5\n2,b.jpg,.7\n",
        "file\na.PNG\n\nb.jpg\n",
        "a.PNG,1\nb.jpg,2\n",
        '\ufeff"path","x"\r\n"a.PNG","1,2"\r\n"b.jpg",""\r\n',
        "image,source\nz.jpg,a.PNG\nz.jpg,b.jpg\n",
    ],
)
def test_csv_columns(table, tree):
    listing = tree / "list.csv"
    listing.write_text(table, encoding="utf-8", newline="")
    assert found(expand(str(listing)), tree) == [("image", "a.PNG"), ("image", "b.jpg")]


@pytest.mark.parametrize("name", ["empty.txt", "empty.csv"])
def test_empty_and_unreadable_lists(name, tree):
    (tree / name).write_text("\n\n")
    with pytest.raises(PoseError, match=f"{name}: lists nothing"):
        expand(str(tree / name))
    (tree / name).write_bytes(b"\xff\xfe\0a\0")
    with pytest.raises(PoseError, match=f"{name}: cannot be read as "):
        expand(str(tree / name))


def test_a_csv_larger_than_any_list_is_refused(tree, monkeypatch):
    monkeypatch.setattr("yolopose.sources.files.MAX_LIST_BYTES", 1 << 10)
    (tree / "long.csv").write_text("a.jpg\n" * 1000)
    with pytest.raises(PoseError, match=r"long\.csv: cannot be read"):
        expand(str(tree / "long.csv"))
