"""A PKI secrets engine as the authority above ours: what it publishes, and having it sign."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ca.chains.checks import MAX_ROOTS
from ca.errors import AuthorityUnavailable
from ca.upstreams.vault_pki import MAX_CERTIFICATES, Engine, Order, is_root
from sds.vault.answers import VaultAnswer
from sds.vault.errors import VaultDenied, VaultError

MAX_PEM_BYTES = 64 * 1024
"""Of one certificate, or of those above it."""
DEFAULT_ISSUER = "default"


class AsyncVault(Protocol):
    """What is needed of sds.vault.client.VaultClient."""

    async def request(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> VaultAnswer: ...


class VaultPki:
    """One issuer of one engine. An issuer that Vault has shown once is not asked for again: its id is that of one
    certificate. All methods raise AuthorityUnavailable.
    """

    def __init__(
        self, vault: AsyncVault, mount: str, issuer: str = DEFAULT_ISSUER, path_length: int | None = None
    ) -> None:
        """`path_length`: how many authorities may stand below ours; None leaves it to Vault."""
        self._vault = vault
        self._mount = mount
        self._issuer = issuer
        self._path_length = path_length
        self._known: dict[str, bytes] = {}

    async def engine(self, *, with_roots: bool) -> Engine:
        """What it shows now; without `with_roots` only the issuer and what is above it. It is asked, too, whether we
        may have it sign: what a policy denies shows before a key is made.
        """
        await self._check_allowed()
        shown = await self._ask("GET", f"issuer/{self._issuer}/json")
        issuer, *above = _certificates([shown.get("certificate"), *_list(shown, "ca_chain")])
        return Engine(issuer, tuple(above), await self._roots() if with_roots else ())

    async def sign(self, order: Order) -> tuple[bytes, ...]:
        """The certificate, then all that came with it, DER."""
        body: dict[str, Any] = {
            "csr": order.csr,
            "use_csr_values": True,
            "skid": order.key_id,
            "ttl": f"{int(order.ttl.total_seconds())}s",
            "not_before_duration": f"{int(order.backdate.total_seconds())}s",
            "format": "pem",
        }
        if self._path_length is not None:
            body["max_path_length"] = self._path_length
        answer = await self._ask("POST", self._sign_path, body)
        found = [answer.get("certificate"), *_list(answer, "ca_chain"), answer.get("issuing_ca")]
        return tuple(_certificates([one for one in found if one]))

    @property
    def _sign_path(self) -> str:
        if self._issuer == DEFAULT_ISSUER:
            return "root/sign-intermediate"
        return f"issuer/{self._issuer}/sign-intermediate"

    async def _check_allowed(self) -> None:
        """Policies may deny the question, too; then the first signature tells."""
        path = f"{self._mount}/{self._sign_path}"
        try:
            answer = (await self._vault.request("PUT", "sys/capabilities-self", {"paths": [path]})).data
        except VaultDenied:
            return
        except VaultError as error:
            raise AuthorityUnavailable(f"Vault's PKI engine {self._mount!r} cannot be used: {error}") from error
        if not {"update", "root"} & set(map(str, _list(answer, path) or _list(answer, "capabilities"))):
            raise AuthorityUnavailable(f"Vault does not allow this server to sign with {path}: give it update there")

    async def _roots(self) -> tuple[bytes, ...]:
        """All issuers of the engine that stand for themselves: also the next one, before anything is below it."""
        ids = [str(one) for one in _list(await self._ask("LIST", "issuers"), "keys")]
        if len(ids) > MAX_CERTIFICATES:
            raise AuthorityUnavailable(f"the PKI engine {self._mount!r} has more than {MAX_CERTIFICATES} issuers")
        for one in ids:
            if one not in self._known:
                shown = await self._ask("GET", f"issuer/{one}/json")
                (self._known[one],) = _certificates([shown.get("certificate")])
        self._known = {one: self._known[one] for one in ids}
        return tuple(dict.fromkeys(der for der in self._known.values() if is_root(der)))[: MAX_ROOTS + 1]

    async def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
        try:
            return (await self._vault.request(method, f"{self._mount}/{path}", body)).data
        except VaultError as error:
            raise AuthorityUnavailable(f"Vault's PKI engine {self._mount!r} cannot be used: {error}") from error


def _list(answer: Mapping[str, Any], name: str) -> list[Any]:
    found = answer.get(name) or []
    if not isinstance(found, list):
        raise AuthorityUnavailable(f"Vault's answer is not understood: {name} is no list")
    return found


def _certificates(pems: list[Any]) -> list[bytes]:
    """DER, in order. Raises AuthorityUnavailable."""
    if len(pems) > MAX_CERTIFICATES:
        raise AuthorityUnavailable("Vault's answer has too many certificates")
    found: list[bytes] = []
    for pem in pems:
        if not isinstance(pem, str) or len(pem) > MAX_PEM_BYTES:
            raise AuthorityUnavailable("Vault's answer holds something other than a certificate")
        try:
            found.append(x509.load_pem_x509_certificate(pem.encode()).public_bytes(Encoding.DER))
        except ValueError as error:
            raise AuthorityUnavailable("Vault's answer holds a certificate that cannot be read") from error
    return found
