"""A small web server on the loopback interface: files, and cameras that send MJPEG and break off."""

import base64
import http.server
import threading
import time

import numpy as np
import pytest


def jpeg(level, size=(24, 32)):
    cv2 = pytest.importorskip("cv2")
    return cv2.imencode(".jpg", np.full((*size, 3), level, np.uint8))[1].tobytes()


class Server(http.server.ThreadingHTTPServer):
    """`pages` maps a path to (status, content type, bytes), `cameras` to the connections that it will answer.

    A connection is (first level, number of frames, seconds between them, what then: "close", "hang" or "refuse").
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.pages, self.cameras, self.asked, self.over = {}, {}, [], threading.Event()
        self.guarded = {}  # path → user:password
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *words):
        pass

    def do_GET(self):
        path = self.path.partition("?")[0]
        self.server.asked.append(self.path)
        if guard := self.server.guarded.get(path):
            wanted = "Basic " + base64.b64encode(guard.encode()).decode()
            if self.headers.get("Authorization") != wanted:
                return self.send_error(401)
        if path in self.server.cameras:
            return self.camera(self.server.cameras[path])
        status, kind, body = self.server.pages.get(path, (404, "text/plain", b"no such page"))
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def camera(self, connections):
        level, count, pause, then = connections.pop(0) if connections else (0, 0, 0, "refuse")
        if then == "refuse":
            return self.send_error(503)
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        try:
            for number in range(count):
                data = jpeg(level + number)
                head = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(data)
                self.wfile.write(head + data + b"\r\n")
                time.sleep(pause)
            if then == "hang":
                self.server.over.wait(20)
        except OSError:
            return  # the other side has hung up


@pytest.fixture
def server():
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield server
    server.over.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def make_video(tmp_path):
    cv2 = pytest.importorskip("cv2")

    def make(name="clip.avi", frames=10, size=(48, 64), fps=20):
        path = tmp_path / name
        code = "MJPG" if name.endswith("avi") else "mp4v"
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*code), fps, size[::-1])
        assert writer.isOpened()
        for index in range(frames):
            writer.write(np.full((*size, 3), min(20 * index, 255), np.uint8))
        writer.release()
        return path

    return make
