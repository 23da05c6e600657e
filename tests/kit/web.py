"""A loopback HTTP server with fixed content, for modules that download."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

_CONTENT = {"hello.txt": "hello from the web\n", "numbers.json": '{"numbers": [1, 2, 3]}\n'}
_MODIFIED = 1_600_000_000


class _QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Drop the access log."""


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Serve `hello.txt` and `numbers.json` from `folder` and yield the URL, without a final slash."""
    for name, content in _CONTENT.items():
        (folder / name).write_text(content)
        os.utime(folder / name, (_MODIFIED, _MODIFIED))
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_QuietHandler, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, name="web")
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
