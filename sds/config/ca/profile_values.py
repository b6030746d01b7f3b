"""What stands in a certificate profile's lists: each item's problem, and its meaning."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_network
from typing import Annotated

from pydantic import AfterValidator

from attestation.errors import InvalidSubject
from attestation.rules import PROFILE_NAME
from attestation.subject import UPPER_BOUNDS, parse_subject
from ca.csr import LeafKey
from ca.limits.names import Network, domain_problem, pattern_problem
from ca.limits.usage import PURPOSES, address_problem, purpose_problem
from ca.profile import LEAF_KEYS
from sds.config.types import TextList

KEY_USAGES = ("digital_signature", "key_encipherment", "key_agreement")


def network(text: str) -> Network:
    """Raises ValueError."""
    try:
        return ip_network(text)
    except ValueError:
        raise ValueError("is not a network such as 10.0.0.0/8, with no bit set after its prefix") from None


def purpose(text: str) -> str:
    """The object identifier of a named purpose, or itself."""
    return PURPOSES.get(text, text)


def settable(text: str) -> tuple[str, int]:
    """``CN`` or ``CN:32``: an attribute and how many characters it may have. Raises ValueError."""
    name, _, length = (part.strip() for part in text.partition(":"))
    longest = UPPER_BOUNDS.get(name.upper())
    if longest is None:
        raise ValueError(f"is not one of {', '.join(UPPER_BOUNDS)}, with a length after a colon or without")
    if not length:
        return name.upper(), longest
    if not (length.isascii() and length.isdecimal() and 1 <= int(length[:9]) <= longest):
        raise ValueError(f"has a length that is not from 1 to {longest}")
    return name.upper(), int(length)


def leaf_keys(texts: tuple[str, ...]) -> frozenset[LeafKey]:
    """The kinds of key that are meant: RSA of a size means of at least that size."""
    named = {LeafKey(text) for text in texts}
    smallest = min((_bits(kind) for kind in named if kind.is_rsa), default=0)
    return frozenset(
        kind for kind in LEAF_KEYS if kind in named or (kind.is_rsa and smallest and _bits(kind) >= smallest)
    )


def _bits(kind: LeafKey) -> int:
    return int(kind.removeprefix("rsa-"))


def _problem_of(read: Callable[[str], object]) -> Callable[[str], str]:
    def problem(text: str) -> str:
        try:
            read(text)
        except ValueError as error:
            return str(error)
        return ""

    return problem


def _each(problem_of: Callable[[str], str], meaning: Callable[[str], str] = str) -> AfterValidator:
    """Tells by its number, and without repeating it, each item that has a problem, and that two mean the same."""

    def check(texts: tuple[str, ...]) -> tuple[str, ...]:
        found = [(number, problem_of(text)) for number, text in enumerate(texts, start=1)]
        problems = [f"item {number} {problem}" for number, problem in found if problem]
        if len(set(map(meaning, texts))) != len(texts):
            problems.append("has an item twice")
        if problems:
            raise ValueError("; ".join(problems))
        return texts

    return AfterValidator(check)


def _key_usage_problem(text: str) -> str:
    if text in {"key_cert_sign", "crl_sign"}:
        return "is for authorities (X509-SVID 4.3)"
    return "" if text in KEY_USAGES else f"is not one of {', '.join(KEY_USAGES)}"


def _key_problem(text: str) -> str:
    return "" if text in LEAF_KEYS else f"is not one of {', '.join(sorted(LEAF_KEYS))}"


def _fixed(text: str) -> str:
    try:
        parse_subject(text)
    except InvalidSubject as error:
        raise ValueError(str(error)) from None
    return text


def _name_problem(text: str) -> str:
    return "" if PROFILE_NAME.fullmatch(text) else "is no profile's name: small letters, digits, dashes and underscores"


ProfileNames = Annotated[TextList, _each(_name_problem)]
DnsPatterns = Annotated[TextList, _each(pattern_problem)]
Networks = Annotated[TextList, _each(_problem_of(network))]
MailDomains = Annotated[TextList, _each(domain_problem)]
KeyUsages = Annotated[TextList, _each(_key_usage_problem)]
Purposes = Annotated[TextList, _each(lambda text: purpose_problem(purpose(text)), purpose)]
KeyTypes = Annotated[TextList, _each(_key_problem)]
Settable = Annotated[TextList, _each(_problem_of(settable), lambda text: text.partition(":")[0].strip().upper())]
Urls = Annotated[TextList, _each(address_problem)]
FixedSubject = Annotated[str, AfterValidator(_fixed)]
