"""What the server answers to plain HTTP: the page, its health and its metrics."""

from __future__ import annotations

import http
import json
from collections.abc import Mapping
from pathlib import Path

from websockets.datastructures import Headers
from websockets.http11 import Response

_WEB_FOLDER = Path(__file__).parent / "web"

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".webmanifest": "application/manifest+json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".woff2": "font/woff2",
}
"""Files of other types are not served."""

_SECURITY = {
    # Nothing from anywhere else, nothing inline. Audio worklets count as scripts.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
        "media-src 'self' blob:; connect-src 'self'; manifest-src 'self'; worker-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Permissions-Policy": "microphone=(self)",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


class Page:
    """The files of a folder, by the paths under which they are served.

    What may be served is listed once: a path that climbs out of the folder is simply not there.
    """

    def __init__(self, folder: Path = _WEB_FOLDER) -> None:
        self._files = {
            "/" + file.relative_to(folder).as_posix(): file
            for file in sorted(folder.rglob("*"))
            if file.is_file() and file.suffix in _TYPES
        }
        if "/index.html" in self._files:
            self._files["/"] = self._files["/index.html"]

    def respond(self, path: str) -> Response | None:
        """The file at a path; None if there is none."""
        file = self._files.get(path)
        if file is None:
            return None
        return respond(http.HTTPStatus.OK, file.read_bytes(), _TYPES[file.suffix])


def respond_text(
    status: http.HTTPStatus, text: str, more: Mapping[str, str] | None = None
) -> Response:
    """A line for whoever reads it."""
    return respond(status, f"{text}\n".encode(), "text/plain; charset=utf-8", more)


def respond_json(status: http.HTTPStatus, value: object) -> Response:
    """A JSON object."""
    return respond(status, (json.dumps(value) + "\n").encode(), "application/json")


def respond(
    status: http.HTTPStatus,
    body: bytes,
    content_type: str,
    more: Mapping[str, str] | None = None,
) -> Response:
    """A whole response; the connection closes after it."""
    headers = Headers(
        {
            "Content-Type": content_type,
            "Content-Length": str(len(body)),
            "Connection": "close",
            "Cache-Control": "no-cache",
            **_SECURITY,
            **(more or {}),
        }
    )
    return Response(status.value, status.phrase, headers, body)
