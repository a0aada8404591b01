"""Serve a folder on this machine to a browser, so that WebAssembly there may use threads: python serve.py [folder]."""

import functools
import sys
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

HEADERS = {  # without them crossOriginIsolated is false and the browser gives the page no shared memory
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cache-Control": "no-cache",
}


class Handler(SimpleHTTPRequestHandler):
    """Files, with the headers above."""

    def end_headers(self) -> None:
        """Close the headers of an answer."""
        for name, value in HEADERS.items():
            self.send_header(name, value)
        super().end_headers()


if __name__ == "__main__":
    folder = sys.argv[1] if len(sys.argv) > 1 else "."
    server = ThreadingHTTPServer(("127.0.0.1", 8000), functools.partial(Handler, directory=folder))
    print("http://127.0.0.1:8000/ (end with Ctrl-C)")
    server.serve_forever()
