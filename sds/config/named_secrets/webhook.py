"""The webhook by which a source, or whoever writes to it, says that secrets have changed."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Literal, Self

from pydantic import model_validator

from sds.config.common import cross_check
from sds.config.problems import Problem
from sds.config.types import FilePath, ListenAddress, Section, key


class WebhookSection(Section):
    """`POST /v1/secrets/changed` with names of secrets: all servers look at their sources at once."""

    listen: ListenAddress | None = key("TCP address of the webhook.", default=None, shown="none")
    profile: Literal["https_spiffe", "https_web", "http"] = key(
        "As in `endpoints.bundle`. `http` is for a proxy on this host that adds TLS; on a loopback address only.",
        default="https_spiffe",
    )
    cert_file: FilePath | None = key("As in `endpoints.bundle`.", default=None, shown="none")
    key_file: FilePath | None = key("As in `endpoints.bundle`.", default=None, shown="none")
    signing_key_file: FilePath | None = key(
        "File with the key (at least 32 bytes) that callers sign with: HMAC-SHA256 over the time, a dot and the body, "
        "in the headers `X-SDS-Time` (seconds since 1970) and `X-SDS-Signature` (`sha256=` and hex). A call is taken "
        "once, and within five minutes. Read at start.",
        default=None,
        shown="none",
    )
    bearer_file: FilePath | None = key(
        "File with the token (at least 32 bytes) of callers that cannot sign (`Authorization: Bearer`). Read at start.",
        default=None,
        shown="none",
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        problems: list[Problem] = []
        if self.listen is not None:
            if self.signing_key_file is None and self.bearer_file is None:
                problems.append(Problem("signing_key_file", "is missing: give it, or bearer_file, or no listen"))
            if self.profile == "https_web" and (self.cert_file is None or self.key_file is None):
                problems.append(Problem("cert_file", "and key_file are needed for https_web"))
            if self.profile == "http" and not _loopback(self.listen.host):
                problems.append(Problem("profile", "may be http on a loopback address only"))
        cross_check(problems)
        return self


def _loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
