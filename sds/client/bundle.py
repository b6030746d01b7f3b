"""The trust bundle."""

from __future__ import annotations

from typing import Literal

from sds.client.nouns import Noun, operation

Format = Literal["pem", "spiffe"]


class Bundle(Noun):
    @operation("bundle.show")
    def get(self, bundle_format: Format = "pem") -> bytes:
        """PEM certificates, or the SPIFFE bundle document (a JWK set)."""
        return self._calls.get("/v1/bundle", {"format": bundle_format}).content
