import gc
import struct

import numpy as np
import pytest

from yolopose.sources import SourceOptions, open_source
from yolopose.sources.video import video_frames

cv2 = pytest.importorskip("cv2")


def frames(path, **options):
    return list(video_frames(str(path), SourceOptions(**options), path.name))


@pytest.mark.parametrize("name", ["clip.avi", "Fußweg 2.mp4"])
def test_every_frame_in_order(name, make_video):
    found = frames(make_video(name))
    assert [frame.index for frame in found] == list(range(10))
    assert {(frame.path, frame.kind, frame.total, frame.fps, frame.error) for frame in found} == {
        (name, "video", 10, 20.0, None)
    }
    levels = [int(frame.image.mean()) for frame in found]
    assert levels == pytest.approx([20 * index for index in range(10)], abs=4)
    assert found[0].image.shape == (48, 64, 3)


def test_stride_takes_every_nth_frame(make_video):
    found = frames(make_video(), vid_stride=4)
    assert [frame.index for frame in found] == [0, 4, 8]
    assert [int(frame.image.mean()) for frame in found] == pytest.approx([0, 80, 160], abs=4)
    assert found[0].fps == 5.0


def test_animated_gif(tmp_path):
    image = pytest.importorskip("PIL.Image")
    pictures = [image.fromarray(np.full((40, 50, 3), 60 * n, np.uint8)) for n in range(4)]
    path = tmp_path / "moving.gif"
    pictures[0].save(path, save_all=True, append_images=pictures[1:])
    assert [int(f.image.mean()) for f in frames(path)] == pytest.approx([0, 60, 120, 180], abs=3)


def test_rotation_of_the_container_is_applied(make_video):
    path = make_video("phone.mp4", frames=3)
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 4 + 40  # version 0: the 3 x 3 matrix follows 40 bytes of other fields
    assert struct.unpack_from(">i", data, matrix) == (0x10000,)
    quarter = (0, 0x10000, 0, -0x10000, 0, 0, 0, 0, 0x40000000)
    struct.pack_into(">9i", data, matrix, *quarter)
    path.write_bytes(data)
    assert frames(path)[0].image.shape == (64, 48, 3)


def test_unreadable_video_is_one_error(tmp_path, make_video):
    junk = tmp_path / "junk001.mp4"
    junk.write_bytes(b"not a video" * 50)
    (found,) = frames(junk)
    assert found.image is None
    assert found.error.startswith("junk001.mp4: cannot be opened")
    whole = make_video("whole.mp4")
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole.read_bytes()[:-200])
    assert "cut off" in frames(cut)[0].error


def test_a_video_that_ends_early_is_logged(tmp_path, make_video, caplog):
    data = make_video("whole.mkv", frames=40).read_bytes()
    path = tmp_path / "short.mkv"
    path.write_bytes(data[: len(data) // 2])
    found = frames(path)
    assert 0 < len(found) < 36
    assert f"short.mkv: ends after frame {len(found)} of 40" in caplog.text


def test_the_file_is_released_when_the_reader_stops(make_video, monkeypatch):
    released = []

    class Capture:
        def __init__(self, path):
            self.inner = opened(path)

        def __getattr__(self, name):
            return getattr(self.inner, name)

        def release(self):
            released.append(True)
            self.inner.release()

    opened = cv2.VideoCapture
    monkeypatch.setattr(cv2, "VideoCapture", Capture)
    with open_source(make_video()) as source:
        next(iter(source))
        assert not released
    assert released == [True]
    assert list(source) == []


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


@pytest.mark.slow
def test_ten_thousand_frames_in_constant_memory(make_video):
    path = make_video("long.mp4", frames=10_000, size=(240, 320))
    start = count = 0
    for count, frame in enumerate(open_source(path), 1):
        assert frame.image is not None
        if count == 500:
            gc.collect()
            start = resident()
    assert count == 10_000
    assert resident() - start < 20e6
