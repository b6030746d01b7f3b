"""The style sheet and the scripts: a URL has the file's hash, so it may be kept for good."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files
from types import MappingProxyType

from starlette.responses import Response

from sds.admin.pages.security import HEADERS
from sds.store.errors import NotFound

_KINDS = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
_NAMES = ("sds.css", "sds.js", "htmx.min.js", "icon.svg")


@dataclass(frozen=True, slots=True)
class Asset:
    content: bytes
    media_type: str


class Assets:
    """Read once. `url` names a file as it is now; any other name or hash is nothing."""

    def __init__(self) -> None:
        folder = files("sds.admin.pages") / "static"
        urls: dict[str, str] = {}
        found: dict[str, Asset] = {}
        for name in _NAMES:
            content = (folder / name).read_bytes()
            stem, _, suffix = name.rpartition(".")
            hashed = f"{stem}.{sha256(content).hexdigest()[:16]}.{suffix}"
            urls[name] = f"/assets/{hashed}"
            found[hashed] = Asset(content, _KINDS[suffix])
        self._urls: Mapping[str, str] = MappingProxyType(urls)
        self._found: Mapping[str, Asset] = MappingProxyType(found)

    def url(self, name: str) -> str:
        return self._urls[name]

    def response(self, hashed: str) -> Response:
        """Raises NotFound."""
        asset = self._found.get(hashed)
        if asset is None:
            raise NotFound("asset", "it has changed, or never was")
        headers = {**HEADERS, "Cache-Control": "public, max-age=31536000, immutable"}
        return Response(asset.content, media_type=asset.media_type, headers=headers)
