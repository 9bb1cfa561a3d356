"""The page at ``/``: files of this package, which ask for nothing from elsewhere."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import Response

_FOLDER = Path(__file__).with_name("files")
_TYPES = {"index.html": "text/html; charset=utf-8", "page.js": "text/javascript", "page.css": "text/css"}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' blob: data:; "
    "media-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def router() -> APIRouter:
    """The page's files."""
    router = APIRouter(include_in_schema=False)
    for name, kind in _TYPES.items():
        content = (_FOLDER / name).read_bytes()

        def file(content: bytes = content, kind: str = kind) -> Response:
            headers = {"Content-Security-Policy": _POLICY, "X-Content-Type-Options": "nosniff"}
            return Response(content, media_type=kind, headers=headers)

        router.add_api_route("/" if name == "index.html" else f"/{name}", file)
    return router
