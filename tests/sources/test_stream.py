import threading
import time

import pytest

from yolopose.sources import SourceOptions, open_source
from yolopose.sources.stream import BUFFER

pytest.importorskip("cv2")

FAST = {"reconnect": 2, "backoff": 0.02, "timeout": 3.0}
ALL = SourceOptions(stream_buffer=True, **FAST)


def level(frame):
    return round(float(frame.image.mean()))


def threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("yolopose stream")]


@pytest.fixture(autouse=True)
def _no_thread_stays():
    yield
    deadline = time.monotonic() + 4
    while threads() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not threads()


def test_a_camera_known_by_its_content_type(server):
    server.cameras["/cam"] = [(0, 1, 0, "close"), (150, 5, 0.001, "close")]  # the first connection is the question
    found = list(open_source(f"{server.url}/cam", SourceOptions(stream_buffer=True, reconnect=0)))
    assert [level(frame) for frame in found[:-1]] == pytest.approx(list(range(150, 155)), abs=1)


def test_events_are_logged_and_no_frame_is_black(server, caplog):
    server.cameras["/cam.mjpg"] = [(100, 8, 0.001, "close"), (0, 0, 0, "refuse"), (150, 5, 0.001, "close")]
    found = list(open_source(f"{server.url}/cam.mjpg", ALL))
    frames, error = found[:-1], found[-1]
    levels = [level(frame) for frame in frames]
    assert levels == pytest.approx([*range(100, 108), *range(150, 155)], abs=1)
    assert [frame.index for frame in frames] == list(range(13))
    assert {(frame.kind, frame.path, frame.total) for frame in frames} == {("stream", f"{server.url}/cam.mjpg", None)}
    events = [record.getMessage().partition(": ")[2] for record in caplog.records]
    assert events == ["lost after frame 8, reconnecting", "reconnected", "lost after frame 13, reconnecting"]
    assert error.error.endswith("lost after frame 13; gave up after 2 attempts to reconnect")


def test_newest_frame_for_a_slow_consumer(server):
    server.cameras["/cam.mjpg"] = [(50, 100, 0.004, "close")]
    seen = []
    for frame in open_source(f"{server.url}/cam.mjpg", SourceOptions(reconnect=0)):
        if frame.error is None:
            seen.append((frame.index, level(frame)))
            time.sleep(0.05)
    assert 3 <= len(seen) < 40
    assert all(value == pytest.approx(50 + index, abs=1) for index, value in seen)
    assert [index for index, _ in seen] == sorted({index for index, _ in seen})


def test_buffer_is_bounded_and_drops_the_oldest(server, caplog):
    server.cameras["/cam.mjpg"] = [(0, 100, 0, "hang")]
    with open_source(f"{server.url}/cam.mjpg", SourceOptions(stream_buffer=True, timeout=60)) as source:
        stream = iter(source)
        first = next(stream)
        assert first.index < 100
        deadline = time.monotonic() + 5
        while "dropping the oldest" not in caplog.text and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.2)  # until the server has sent all
        rest = [next(stream) for _ in range(BUFFER)]
    assert [frame.index for frame in rest] == list(range(100 - BUFFER, 100))
    assert caplog.text.count("dropping the oldest") == 1


def test_stride_on_a_stream(server):
    server.cameras["/cam.mjpg"] = [(0, 10, 0.001, "close")]
    found = list(open_source(f"{server.url}/cam.mjpg", SourceOptions(vid_stride=3, stream_buffer=True, reconnect=0)))
    assert [frame.index for frame in found[:-1]] == [0, 3, 6, 9]


def test_streams_file_gives_rounds(server, tmp_path, make_video):
    server.cameras["/one"] = [(10, 6, 0.001, "close")]
    server.cameras["/two"] = [(200, 9, 0.001, "close")]
    make_video("three.avi", frames=4)
    listing = tmp_path / "all.streams"
    listing.write_text(f"# cameras\n{server.url}/one\n{server.url}/two\n\nthree.avi\n{server.url}/none\n")
    options = SourceOptions(stream_buffer=True, reconnect=0)
    with open_source(listing, options) as source:
        assert source.streams == 4
        found = list(source)
    good = [(frame.stream, frame.index) for frame in found if frame.error is None]
    for number, count in enumerate((6, 9, 4)):
        assert [index for stream, index in good if stream == number] == list(range(count))
    assert [stream for stream, _ in good[:3]] == [0, 1, 2]  # one of each in the first round
    assert {level(frame) // 100 for frame in found if frame.stream == 1 and frame.error is None} == {2}
    errors = {frame.stream: frame.error for frame in found if frame.error}
    assert set(errors) == {0, 1, 3}  # a file ends, a camera is lost
    assert "cannot be opened" in errors[3]
    assert {frame.items for frame in found} == {4}


def test_a_lost_stream_does_not_hold_up_the_others(server):
    server.cameras["/one.mjpg"] = [(10, 5, 0.001, "close"), (30, 5, 0.001, "close")]
    server.cameras["/two.mjpg"] = [(100, 40, 0.005, "close")]
    addresses = [f"{server.url}/one.mjpg", f"{server.url}/two.mjpg"]
    found = list(open_source(addresses, SourceOptions(stream_buffer=True, reconnect=1, backoff=0.1)))
    order = [frame.stream for frame in found if frame.error is None]
    assert order.count(0) == 10
    assert order.count(1) == 40
    again = [place for place, stream in enumerate(order) if stream == 0][5]
    assert order[:again].count(1) > 8  # the second went on while the first was away


def test_camera_that_is_not_there():
    for source in (97, "97"):
        (found,) = open_source(source)
        assert found.image is None
        assert found.error.startswith("97: cannot be opened")


def test_close_from_another_thread_ends_a_waiting_reader(server):
    server.cameras["/cam.mjpg"] = [(10, 8, 0, "hang")]
    source = open_source(f"{server.url}/cam.mjpg", SourceOptions(stream_buffer=True, timeout=60))
    begin = time.monotonic()
    threading.Timer(0.3, source.close).start()
    assert len(list(source)) == 8
    assert time.monotonic() - begin < 30


def test_a_silent_stream_times_out(server):
    server.cameras["/cam.mjpg"] = [(10, 8, 0, "hang")]
    begin = time.monotonic()
    found = list(open_source(f"{server.url}/cam.mjpg", SourceOptions(stream_buffer=True, timeout=0.5, reconnect=0)))
    assert "lost after frame 8" in found[-1].error
    assert time.monotonic() - begin < 30


def test_errors_of_the_thread_surface(server, monkeypatch):
    from yolopose.sources.stream import StreamReader

    def fail(self):
        raise RuntimeError("a bug")

    monkeypatch.setattr(StreamReader, "_open", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        list(open_source(["rtsp://127.0.0.1/a", 5]))


def test_closing_before_the_first_frame_starts_nothing():
    source = open_source("rtsp://127.0.0.1:9/live")
    source.close()
    assert list(source) == []
