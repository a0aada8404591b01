import pytest

from yolopose.errors import PoseError
from yolopose.sources.files import classify, is_url


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("rtsp://user:secret@10.0.0.7:554/live", "stream"),
        ("RTMP://host/app", "stream"),
        ("tcp://host:1234", "stream"),
        ("https://host/live/index.m3u8?token=1", "stream"),
        ("https://host/a/bus.JPG?width=640", "image"),
        ("http://host/a%20b.mp4#t=3", "video"),
        ("http://user:secret@camera/video?channel=1", "stream"),
    ],
)
def test_kind_by_address(url, kind):
    assert is_url(url)
    assert classify(url) == kind


@pytest.mark.parametrize(
    ("page", "kind"),
    [
        (("image/jpeg", b"x"), "image"),
        (("video/mp4", b"x"), "video"),
        (("application/x-mpegurl", b"x"), "stream"),
    ],
)
def test_kind_by_content_type(server, page, kind):
    server.pages["/thing"] = (200, *page)
    assert classify(f"{server.url}/thing?id=3") == kind


def test_camera_by_content_type(server):
    server.cameras["/video"] = [(0, 2, 0, "close")]
    assert classify(f"{server.url}/video") == "stream"


def test_addresses_that_lead_nowhere(server):
    server.pages["/page"] = (200, "text/html; charset=utf-8", b"<html>")
    for url, message in [
        (f"{server.url}/page", "a web page"),
        (f"{server.url}/gone", "answers 404"),
        ("http://127.0.0.1:9/thing", r"cannot be reached .* check the address"),
        ("s3://bucket/a.jpg", "unknown kind of address"),
        ("https://www.youtube.com/watch?v=1", "download the video first"),
    ]:
        with pytest.raises(PoseError, match=message) as caught:
            classify(url)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://[::1", "rtsp://user:secret@[::1/live"])
def test_an_address_that_cannot_be_taken_apart_is_one_line(url):
    with pytest.raises(PoseError, match="not a web address") as caught:
        classify(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("text", ["C:\\photos\\a.jpg", "c:/photos", "photos/a.jpg", "http", ":///"])
def test_paths_are_no_addresses(text):
    assert not is_url(text)
