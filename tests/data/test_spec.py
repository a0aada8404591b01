import os
from pathlib import Path

import pytest
import yaml as yaml_module

from yolopose.data import spec as spec_module
from yolopose.data.fetch import Download
from yolopose.data.spec import CONFIGS, load_data
from yolopose.errors import PoseError

COMPLETE = """
path: .
train: images
kpt_shape: [3, 2]
names: [cat, dog]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a/x.jpg", "a/deep/y.PNG", "a/notes.txt", "b/z.jpeg"):
        file = tmp_path / "images" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"")
    return tmp_path


def write(folder: Path, text: str, name: str = "data.yaml") -> Path:
    (folder / name).write_text(text)
    return folder / name


def names(paths: list[Path]) -> list[str]:
    return [path.name for path in paths]


def test_classes_keypoints_and_splits_are_read(folder: Path) -> None:
    text = COMPLETE + "flip_idx: [1, 0, 2]\nkpt_oks_sigmas: [.1, .1, .2]\nkpt_names: [l, r, m]\nskeleton: [[0, 1]]\n"
    spec = load_data(write(folder, text))
    assert spec.path == folder
    assert spec.names == {0: "cat", 1: "dog"}
    assert spec.layout.shape == (3, 2)
    assert spec.layout.flip == (1, 0, 2)
    assert spec.layout.sigmas == (0.1, 0.1, 0.2)
    assert spec.layout.names == ("l", "r", "m")
    assert spec.layout.edges == ((0, 1),)
    assert spec.given_sigmas
    bare = load_data(write(folder, COMPLETE))
    assert bare.layout.flip is None
    assert not bare.given_sigmas


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("images", ["y.PNG", "x.jpg", "z.jpeg"]),
        ("images/b", ["z.jpeg"]),
        ("[images/b, images/a]", ["z.jpeg", "y.PNG", "x.jpg"]),
        ("[images/b, images]", ["z.jpeg", "y.PNG", "x.jpg"]),  # each once
        ("images/a/x.jpg", ["x.jpg"]),
        ("list.txt", ["z.jpeg", "x.jpg"]),
    ],
)
def test_splits_may_be_folders_lists_and_files(folder: Path, entry: str, expected: list[str]) -> None:
    (folder / "list.txt").write_text(f"./images/b/z.jpeg\n\n{folder}/images/a/x.jpg\n")
    spec = load_data(write(folder, COMPLETE.replace("train: images", f"train: {entry}")))
    assert names(spec.split("train")) == expected


def test_a_list_may_be_relative_to_the_data_set(folder: Path) -> None:
    (folder / "lists").mkdir()
    (folder / "lists" / "some.txt").write_text("images/b/z.jpeg\n")
    spec = load_data(write(folder, COMPLETE.replace("train: images", "train: lists/some.txt")))
    assert spec.split("train") == [folder / "images/b/z.jpeg"]


def test_path_is_relative_to_the_yaml_whatever_the_current_directory(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "cfg").mkdir()
    yaml = write(folder / "cfg", COMPLETE.replace("path: .", "path: .."))
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert len(load_data(yaml).split("train")) == 3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- a\n- b\n", "key: value"),
        ("a: [", "expected"),
        (COMPLETE.replace("train: images\n", ""), "no train, val or test"),
        (COMPLETE.replace("kpt_shape: [3, 2]\n", ""), "kpt_shape"),
        (COMPLETE.replace("[3, 2]", "[3, 4]"), "kpt_shape"),
        (COMPLETE.replace("names: [cat, dog]\n", ""), "names"),
        (COMPLETE.replace("[cat, dog]", "{1: cat}"), "names"),
        (COMPLETE + "nc: 3\n", "nc is 3"),
        (COMPLETE + "flip_idx: [1, 2, 0]\n", "undo itself"),
        (COMPLETE + "flip_idx: [0, 1]\n", "flip_idx"),
        (COMPLETE + "kpt_oks_sigmas: [1]\n", "kpt_oks_sigmas"),
        (COMPLETE.replace("train: images", "train: 7"), "train must be"),
        (COMPLETE.replace("path: .", "path: nowhere"), "does not exist"),
        (COMPLETE + "download: [{url: 'http://h/x.zip', sha: 1}]\n", "sha"),
    ],
)
def test_invalid_data_yamls_are_one_line(folder: Path, text: str, words: str) -> None:
    yaml = write(folder, text)
    with pytest.raises(PoseError, match=words) as caught:
        load_data(yaml)
    assert str(yaml) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_split_or_folder_is_named(folder: Path) -> None:
    spec = load_data(write(folder, COMPLETE + "val: pictures\ntest: empty\n"))
    (folder / "empty").mkdir()
    with pytest.raises(PoseError, match=r"val: .*pictures does not exist"):
        spec.split("val")
    with pytest.raises(PoseError, match="no images in empty"):
        spec.split("test")
    with pytest.raises(PoseError, match=r"no 'test' split \(it has train"):
        load_data(write(folder, COMPLETE)).split("test")


def test_an_unknown_data_set_suggests_the_nearest_name() -> None:
    with pytest.raises(PoseError, match=r"did you mean 'coco8-pose.yaml'"):
        load_data("coco8-pos.yaml")


@pytest.mark.parametrize("name", sorted(p.name for p in CONFIGS.glob("*.yaml")))
def test_packaged_data_yamls_load(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spec_module, "_download", lambda *_: None)
    spec = load_data(name)
    assert spec.layout.flip is not None
    made_by_hand = "yolo pose convert" in spec.yaml.read_text(encoding="utf-8")
    assert spec.downloads or spec.path.is_dir() or made_by_hand
    assert all(d.url.endswith(".zip") for d in spec.downloads)


def test_published_data_live_in_datasets_and_are_fetched_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched = []

    def fake_fetch(root: Path, downloads: tuple[Download, ...], within: list[Path]) -> None:
        fetched.append(downloads[0].url)
        (root / "images" / "train").mkdir(parents=True)

    monkeypatch.setattr(spec_module, "fetch", fake_fetch)
    monkeypatch.chdir(tmp_path)
    assert load_data("coco8-pose").path == tmp_path / "datasets" / "coco8-pose"
    load_data("coco8-pose.yaml")
    assert fetched == ["https://github.com/ultralytics/assets/releases/download/v0.0.0/coco8-pose.zip"]


@pytest.mark.parametrize("code", ["bash get.sh", "|\n  from os import system\n  system('touch harm')\n", "[bash x.sh]"])
def test_code_under_download_is_never_run(folder: Path, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    there = write(folder, COMPLETE + f"download: {code}\n")
    assert load_data(there).downloads == ()
    absent = write(folder, COMPLETE.replace("path: .", "path: gone") + f"download: {code}\n")
    with pytest.raises(PoseError, match="code, which is never run"):
        load_data(absent)
    assert not (folder / "harm").exists()


BASE = {"path": ".", "train": "images", "kpt_shape": [3, 2], "names": ["cat"]}


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("nc", 99999999, "nc must be from 1 to 100000"),
        ("nc", "many", "nc must be a whole number"),
        ("kpt_shape", [100000000, 3], "kpt_shape"),
        ("path", "~nosuchuser", "no user of that name"),
        ("path", ["a"], "path must be text"),
        ("path", "a\0b", "path is no usable text"),
        ("path", "x" * 5000, "does not exist"),
        ("train", "x" * 5000, "does not exist"),
        ("train", "a\0b", "train is no usable text"),
        ("train", {"a": 1}, "train must be a folder"),
        ("train", [1, 2], "train must be a folder"),
        ("names", "cat", "names must list"),
        ("names", {"a": "cat"}, "names must list"),
        ("names", [["cat"]], "names must list .* a name of names must be text"),
        ("names", [], "names must list"),
        ("names", {0: "cat", "0": "dog"}, "names must list"),
        ("flip_idx", 3, "flip_idx"),
        ("flip_idx", ["a", "b", "c"], "flip_idx"),
        ("skeleton", [[0]], "skeleton"),
        ("skeleton", 5, "skeleton"),
        ("kpt_oks_sigmas", 0.1, "kpt_oks_sigmas"),
        ("kpt_names", 5, "kpt_names"),
        ("annotations", [1], "annotations must map"),
        ("annotations", {"val": {}}, "annotations must be text"),
        ("download", [{"url": "http://h/x.zip", "into": "/etc"}], "outside the data set's folder"),
        ("download", [{"url": "http://h/x.zip", "into": ["a"]}], "download: into must be text"),
        ("download", [{"url": "http://h/x.zip", 5: 1}], "unknown key 5"),
    ],
)
def test_entries_of_a_wrong_form_are_one_line(folder: Path, key: str, value: object, words: str) -> None:
    file = write(folder, yaml_module.safe_dump(BASE | {key: value}))
    with pytest.raises(PoseError, match=words) as caught:
        load_data(file).split("train")
    assert str(file) in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1000 or "x" * 5000 in value


@pytest.mark.parametrize("name", ["", ".", "/", "a\0b", "x" * 5000, "~"])
def test_odd_names_of_a_yaml_are_no_files(name: str) -> None:
    with pytest.raises(PoseError, match="no such file"):
        load_data(name)


def test_links_in_a_circle_are_followed_once(folder: Path) -> None:
    (folder / "images" / "a" / "up").symlink_to("..")
    (folder / "images" / "b" / "up").symlink_to("..")
    (folder / "images" / "elsewhere").symlink_to("b")
    found = load_data(write(folder, COMPLETE)).split("train")
    assert names(found) == ["y.PNG", "x.jpg", "z.jpeg"]


def test_links_to_folders_above_are_not_followed(folder: Path) -> None:
    (folder / "secret.jpg").write_bytes(b"")
    (folder / "images" / "up").symlink_to("..")
    (folder / "images" / "disk").symlink_to("/")
    (folder / "images" / "b" / "beside").symlink_to("../../other")
    (folder / "other").mkdir()
    (folder / "other" / "o.png").write_bytes(b"")
    assert names(load_data(write(folder, COMPLETE)).split("train")) == ["y.PNG", "x.jpg", "o.png", "z.jpeg"]
    (folder / "linked").symlink_to("images")
    assert len(load_data(write(folder, COMPLETE.replace("images", "linked"))).split("train")) == 4


def test_a_disk_is_not_searched_for_images(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spec_module, "MAX_FOLDERS", 3)
    with pytest.raises(PoseError, match="images: more than 3 folders; name the one"):
        load_data(write(folder, COMPLETE)).split("train")
    monkeypatch.setattr(spec_module, "MAX_FOLDERS", 4)
    load_data(write(folder, COMPLETE)).split("train")


def test_many_ways_to_one_folder_are_one(tmp_path: Path) -> None:
    """2^24 ways."""
    for i in range(24):
        (tmp_path / f"{i}").mkdir()
        for way in "ab":
            (tmp_path / f"{i}" / way).symlink_to(f"../{i + 1}")
    (tmp_path / "24").mkdir()
    (tmp_path / "24" / "x.jpg").write_bytes(b"")
    found = load_data(write(tmp_path, COMPLETE.replace("images", "'0'"))).split("train")
    assert found == [tmp_path / ("0/" + "a/" * 24) / "x.jpg"]


@pytest.mark.parametrize("text", [b"\xff\xfe", b"images/a/x.jpg\0\n"])
def test_lists_that_are_no_text_are_named(folder: Path, text: bytes) -> None:
    (folder / "list.txt").write_bytes(text)
    with pytest.raises(PoseError, match=r"list\.txt: not a "):
        load_data(write(folder, COMPLETE.replace("images", "list.txt"))).split("train")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_pipes_and_devices_in_the_place_of_lists(folder: Path) -> None:
    os.mkfifo(folder / "list.txt")
    (folder / "zero.txt").symlink_to("/dev/zero")
    for name in ("list.txt", "zero.txt"):
        with pytest.raises(PoseError, match="neither a file nor a folder"):
            load_data(write(folder, COMPLETE.replace("images", name))).split("train")
