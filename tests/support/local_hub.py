"""A Hugging Face hub on this machine: as much of its interface as a download uses."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "a" * 40


class LocalHub(ThreadingHTTPServer):
    """Every repository holds `folder`, at `COMMIT`.

    Attributes:
        downloaded: names of the files that were asked for whole.
    """

    folder: Path
    downloaded: list[str]

    @property
    def endpoint(self) -> str:
        """For HF_ENDPOINT."""
        return f"http://127.0.0.1:{self.server_port}"


class _Request(BaseHTTPRequestHandler):
    server: LocalHub

    def do_GET(self) -> None:
        body = self._body()
        if self.headers["Range"] == "bytes=0-0":
            body = body[:1]
        elif "/resolve/" in self.path and self.command == "GET":
            self.server.downloaded.append(self.path.rpartition("/")[2])
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{hashlib.sha1(body).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815 (the name is http.server's)

    def _body(self) -> bytes:
        files = sorted(self.server.folder.iterdir())
        if "/resolve/" in self.path:
            return (self.server.folder / self.path.rpartition("/")[2]).read_bytes()
        if "/tree/" in self.path:
            listing = [{"type": "file", "path": f.name, "size": f.stat().st_size} for f in files]
            return json.dumps([entry | {"oid": entry["path"]} for entry in listing]).encode()
        siblings = [{"rfilename": file.name} for file in files]
        return json.dumps({"id": "repository", "sha": COMMIT, "siblings": siblings}).encode()

    def log_message(self, format: str, *args: object) -> None:
        """Keep the test's output clean."""


@contextmanager
def running_local_hub(folder: Path) -> Iterator[LocalHub]:
    """A hub whose repositories all hold `folder`."""
    with LocalHub(("127.0.0.1", 0), _Request) as server:
        server.folder, server.downloaded = folder, []
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
