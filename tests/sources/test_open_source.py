import io
import os
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import bombs

from yolopose.errors import PoseError, UsageError
from yolopose.images import encode_jpeg
from yolopose.sources import SourceOptions, open_source

cv2 = pytest.importorskip("cv2")

PICTURE = np.full((30, 40, 3), (10, 100, 200), np.uint8)


@pytest.fixture
def photos(tmp_path):
    for name in ("a.jpg", "b ü.jpg", "c.jpg"):
        (tmp_path / name).write_bytes(encode_jpeg(PICTURE))
    return tmp_path


@pytest.mark.parametrize("kind", [str, Path])
def test_one_photograph(photos, kind):
    with open_source(kind(photos / "b ü.jpg")) as source:
        assert source.len_hint == 1
        assert source.streams == 0
        (frame,) = source
    assert np.abs(frame.image.astype(int) - PICTURE).max() <= 3
    assert (frame.path, frame.kind, frame.index, frame.total) == (str(photos / "b ü.jpg"), "image", 0, 1)


def test_folder_with_a_broken_file_and_a_video(photos, make_video):
    (photos / "b ü.jpg").write_bytes(encode_jpeg(PICTURE)[:-100])
    make_video("bb.avi", frames=3)
    source = open_source(photos)
    assert source.len_hint is None
    frames = list(source)
    assert [(frame.kind, frame.item, frame.index) for frame in frames] == [
        ("image", 0, 0),
        ("image", 1, 1),
        ("video", 2, 0),
        ("video", 2, 1),
        ("video", 2, 2),
        ("image", 3, 3),
    ]
    assert {frame.items for frame in frames} == {4}
    assert [frame.total for frame in frames] == [4, 4, 3, 3, 3, 4]
    assert [frame.error is not None for frame in frames] == [False, True, False, False, False, False]
    assert frames[1].error.startswith(f"{photos / 'b ü.jpg'}: truncated")
    assert frames[1].image is None


def test_mixed_list(photos):
    image = pytest.importorskip("PIL.Image")
    torch = pytest.importorskip("torch")
    opened = image.open(photos / "c.jpg")
    members = [
        PICTURE,
        photos / "a.jpg",
        image.fromarray(np.ascontiguousarray(PICTURE[..., ::-1])),
        torch.from_numpy(PICTURE[..., ::-1].copy()).permute(2, 0, 1).expand(2, 3, 30, 40) / 255,
        "gone.jpg",
        encode_jpeg(PICTURE),
        b"rubbish",
        str(photos / "*.jpg"),
        opened,
    ]
    with pytest.raises(PoseError, match=r"gone\.jpg: no such file"):
        open_source(tuple(members))
    source = open_source(tuple(members), SourceOptions(skip_missing=True))
    assert source.len_hint == 12
    frames = list(source)
    names = [Path(frame.path).name for frame in frames]
    pictures = ["a.jpg", "b ü.jpg", "c.jpg"]
    memory = ["image2.jpg", "image3.jpg", "image4.jpg", "gone.jpg", "image6.jpg", "image7.jpg"]
    assert names == ["image0.jpg", "a.jpg", *memory, *pictures, "c.jpg"]
    assert [frame.index for frame in frames] == list(range(12))
    assert [frame.index for frame in frames if frame.error] == [5, 7]
    assert [frame.named for frame in frames] == [False, True, False, False, False, True, True, True, *[False] * 4]
    assert all(np.abs(frame.image.astype(int) - PICTURE).max() <= 3 for frame in frames if not frame.error)


def test_arrays_are_not_copied_and_read_lazily():
    (frame,) = open_source(PICTURE)
    assert np.shares_memory(frame.image, PICTURE)
    source = iter(open_source([PICTURE, np.zeros((3, 3, 3, 3, 3))]))
    assert next(source).error is None
    with pytest.raises(PoseError, match=r"image1\.jpg: array of shape"):
        next(source)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (None, "type NoneType"),
        (1.5, "type float"),
        (True, "type bool"),
        ({"a": 1}, "type dict"),
        ([], "empty list"),
        ("", "source is empty"),
        ([["a.jpg"]], "type list"),
        (["rtsp://host/a", "b.jpg"], r"rtsp://host/a is a stream"),
        (["rtsp://a:secret@host/a", "b.jpg"], r"rtsp://\*\*\*@host/a is a stream"),
        (10**40, "no such camera"),
        ("9" * 5000, "no such camera"),
        ([0, 1 << 40], "no such camera"),
    ],
)
def test_no_source_at_all(source, message):
    with pytest.raises(UsageError, match=message):
        open_source(source)


def test_missing_paths_raise_at_once(tmp_path):
    for source in (tmp_path / "gone.jpg", str(tmp_path), f"{tmp_path}/**/*.png"):
        with pytest.raises(PoseError, match=str(tmp_path)):
            open_source(source)
    (tmp_path / "x.streams").write_text("# none\n")
    with pytest.raises(PoseError, match="lists no streams"):
        open_source(tmp_path / "x.streams")


def test_txt_and_csv_of_sources(photos):
    (photos / "list.txt").write_text("c.jpg\nmissing.jpg\na.jpg\n")
    (photos / "list.csv").write_text("n,file\n1,c.jpg\n2,a.jpg\n")
    found = list(open_source(photos / "list.txt"))
    assert [Path(frame.path).name for frame in found] == ["c.jpg", "missing.jpg", "a.jpg"]
    assert [bool(frame.error) for frame in found] == [False, True, False]
    assert [Path(frame.path).name for frame in open_source(str(photos / "list.csv"))] == ["c.jpg", "a.jpg"]


def test_addresses_are_downloaded_and_cleaned_up(server, make_video, tmp_path, monkeypatch):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    server.pages["/x/bus.jpg"] = (200, "image/jpeg", encode_jpeg(PICTURE))
    server.pages["/picture"] = (200, "image/jpeg", encode_jpeg(PICTURE))
    server.pages["/clip.avi"] = (200, "video/avi", make_video(frames=4).read_bytes())
    server.pages["/cut.jpg"] = (200, "image/jpeg", encode_jpeg(PICTURE)[:-50])
    (frame,) = open_source(f"{server.url}/x/bus.jpg?size=1")
    assert frame.image.shape == (30, 40, 3)
    assert frame.path == f"{server.url}/x/bus.jpg"
    assert [frame.image.shape for frame in open_source(f"{server.url}/picture")] == [(30, 40, 3)]
    video = [(frame.kind, frame.index, frame.total) for frame in open_source(f"{server.url}/clip.avi")]
    assert video == [("video", index, 4) for index in range(4)]
    names = ["x/bus.jpg", "gone.jpg", "cut.jpg", "clip.avi"]
    found = list(open_source([f"{server.url}/{name}" for name in names], SourceOptions(vid_stride=2)))
    assert [bool(frame.error) for frame in found] == [False, True, True, False, False]
    assert all(f"{server.url}/{name}" in frame.error for name, frame in zip(names[1:3], found[1:3], strict=True))
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("url", ["http://bob:secret@{}/a.jpg", "rtsp://bob:secret@{}/a", "http://bob:secret@{}/a.m3u8"])
def test_a_password_is_in_no_message(url, capfd, caplog):
    (frame,) = open_source(url.format("127.0.0.1:9"), SourceOptions(timeout=2, reconnect=0))
    assert frame.error
    assert frame.named
    assert "secret" not in f"{frame.error} {frame.path} {caplog.text} {capfd.readouterr()}"


def test_a_password_opens_the_image_it_guards(server):
    server.guarded["/a.jpg"] = "bob:s cret"
    server.pages["/a.jpg"] = (200, "image/jpeg", encode_jpeg(PICTURE))
    (frame,) = open_source(server.url.replace("//", "//bob:s%20cret@") + "/a.jpg")
    assert frame.error is None
    assert frame.image.shape == PICTURE.shape
    (frame,) = open_source(server.url.replace("//", "//bob:wrong@") + "/a.jpg")
    assert "401" in frame.error
    assert "wrong" not in frame.error


def test_pipes_devices_and_loops_are_one_line_each(tmp_path):
    pipe, loop, device = tmp_path / "pipe.jpg", tmp_path / "loop.jpg", tmp_path / "zero.jpg"
    os.mkfifo(pipe)
    loop.symlink_to(loop)
    device.symlink_to("/dev/zero")
    for path, message in ((pipe, "a pipe or device"), (device, "a pipe or device"), (loop, "no such file")):
        with pytest.raises(PoseError, match=message):
            open_source(path)
    with pytest.raises(PoseError, match="cannot be read: File name too long"):
        open_source("x" * 5000)
    with pytest.raises(PoseError, match="no images"):  # a folder of such things has none
        open_source(tmp_path)


def test_patterns_go_through_loops_of_links_once(photos):
    (photos / "sub").mkdir()
    for name in ("one", "two"):
        (photos / "sub" / name).symlink_to(photos)
    (photos / "sub" / "d.jpg").write_bytes(encode_jpeg(PICTURE))
    found = [os.path.relpath(frame.path, photos) for frame in open_source(f"{photos}/**/*.jpg")]
    assert found == ["a.jpg", "b ü.jpg", "c.jpg", "sub/d.jpg"]
    found = [os.path.relpath(frame.path, photos) for frame in open_source(f"{photos}/**/s*/**/*.jpg")]
    assert "sub/d.jpg" in found
    assert len(found) < 10


@pytest.mark.skipif(not os.path.exists("/proc/self/pagemap"), reason="only Linux has such files")
def test_a_file_of_the_system_that_never_ends_is_one_line():
    (frame,) = open_source("/proc/self/pagemap")
    assert frame.error.startswith("/proc/self/pagemap: ")


def test_names_that_begin_like_a_home_folder(photos, monkeypatch):
    monkeypatch.chdir(photos)
    (photos / "~photo.jpg").write_bytes(encode_jpeg(PICTURE))
    (photos / "list.txt").write_text("a.jpg\n~photo.jpg\n~nobody/x.jpg\n")
    assert [frame.error for frame in open_source("~photo.jpg")] == [None]
    assert [frame.path for frame in open_source("~ph*.jpg")] == ["~photo.jpg"]
    assert [frame.error is None for frame in open_source("list.txt")] == [True, True, False]


def test_too_many_pixels_are_an_error_of_each_kind_of_source(photos, make_video, server, monkeypatch):
    small = SourceOptions(max_pixels=30 * 40 - 1)
    server.pages["/a.jpg"] = (200, "image/jpeg", encode_jpeg(PICTURE))
    (photos / "b.gif").write_bytes(bombs.gif())
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(encode_jpeg(PICTURE)), isatty=lambda: False))
    streams = photos / "x.streams"
    streams.write_text(str(make_video("c.avi")))
    sources = [
        photos / "a.jpg",
        encode_jpeg(PICTURE),
        f"{server.url}/a.jpg",
        make_video(),
        photos / "b.gif",
        "-",
        streams,
    ]
    for source in sources:
        (frame,) = open_source(source, small)
        assert "more than max_pixels=1199" in frame.error
        assert frame.image is None


def test_a_stream_among_files_is_refused(server):
    server.cameras["/cam"] = [(0, 1, 0, "close")]
    (frame,) = open_source([f"{server.url}/cam"])
    assert "a stream among files" in frame.error


def test_the_photographs_and_videos_of_the_demo(shared):
    folder = shared / "data" / "demo"
    pictures = list(open_source(f"{folder}/*.jpg"))
    assert len(pictures) == 8
    assert not any(frame.error for frame in pictures)
    video = open_source(folder / "intel_one_by_one_person_20s.mp4", SourceOptions(vid_stride=50))
    frames = list(video)
    assert [frame.index for frame in frames] == list(range(0, frames[0].total, 50))
    assert len({frame.image.shape for frame in frames}) == 1
