"""Tracking on live streams that stall, break off and come back with frames of another size."""

from functools import partial

import pytest
from helpers.builders import ManyBackend

from yolopose import YOLO
from yolopose.sources import SourceOptions
from yolopose.track.reading import read_tracks


@pytest.fixture
def model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(YOLO, "_backend", lambda *_: ManyBackend())
    options = partial(SourceOptions, timeout=0.5, reconnect=1, backoff=0.05)
    monkeypatch.setattr("yolopose.predict.SourceOptions", options)
    return YOLO("yolov8n-face")


@pytest.mark.parametrize("end", ["hang", "close"])
def test_tracks_until_a_stream_stalls_or_ends_are_on_disk(model, server, caplog, end):
    server.cameras["/cam.mjpg"] = [(200, 5, 0.05, end)]  # all white: one person who fills the frame
    run = model.track(f"{server.url}/cam.mjpg", stream=True, stream_buffer=True, save_tracks="t.csv", save=True)
    results = list(run)
    assert [result.boxes.id.int().tolist() for result in results] == [[1]] * len(results)
    assert len(results) >= 4
    assert run.failed == 1
    assert "gave up after 1 attempt" in caplog.text
    table = read_tracks("t.csv")
    assert table.id.tolist() == [1] * len(results)
    assert (table.time[1:] > table.time[:-1]).all()


def test_a_stream_that_comes_back_goes_on_with_its_ids(model, server):
    server.cameras["/cam.mjpg"] = [(200, 4, 0.02, "close"), (210, 4, 0.02, "close")]
    results = model.track(f"{server.url}/cam.mjpg", stream_buffer=True)
    assert {tuple(result.boxes.id.int().tolist()) for result in results} == {(1,)}
    assert len(results) >= 6


def test_several_streams_in_one_list(model, server):
    server.cameras["/a"], server.cameras["/b"] = [(200, 5, 0.02, "close")], [(100, 5, 0.02, "close")]
    urls = [f"{server.url}/a/stream.mjpg", f"{server.url}/b/stream.mjpg"]
    for name in ("a", "b"):
        server.cameras[f"/{name}/stream.mjpg"] = server.cameras[f"/{name}"]
    found = {}
    for result in model.track(urls, stream=True, stream_buffer=True, save_tracks="t.txt"):
        found.setdefault(result.path, set()).add(tuple(result.boxes.id.int().tolist()))
    assert found == {urls[0]: {(1,)}, urls[1]: {()}}
    assert len(read_tracks("t.txt")) + len(read_tracks("t-2.txt")) >= 4
