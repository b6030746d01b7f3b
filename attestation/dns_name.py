"""DNS names as certificates carry them, and the server's reserved ones in every disguise."""

from __future__ import annotations

import re
import unicodedata

from attestation.entry import RESERVED_DNS

MAX_DNS_BYTES = 253  # RFC 1035 2.3.4, written without the root's dot

_LDH = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)")  # RFC 5890 2.3.1


def spelling(name: str) -> str:
    """DNS compares without case (RFC 4343), and a certificate's name has no root dot (RFC 5280 4.2.1.6)."""
    return name.lower().removesuffix(".")


def reserved_dns(name: str) -> bool:
    """Whether a DNS name lies at or below the reserved suffix, or a wildcard covers it, in whatever spelling."""
    forms = {spelling(name), careless_reading(name)}
    return any(_covers_reserved(form) for form in forms)


def mentions_reserved(text: str) -> bool:
    """Whether the reserved suffix stands anywhere in `text`, in whatever spelling."""
    return RESERVED_DNS in careless_reading(text)


def dns_problem(name: str) -> str:
    """What is wrong with one DNS name (RFC 5890 LDH labels, RFC 6125 6.4.3 wildcards); empty if nothing is."""
    if len(name) > 4 * MAX_DNS_BYTES:  # before any work that grows with its length
        return f"is longer than {MAX_DNS_BYTES} bytes"
    if reserved_dns(name):
        return f"is, or covers, {RESERVED_DNS}, which is reserved for servers"
    form = spelling(name)
    if len(form.encode(errors="replace")) > MAX_DNS_BYTES:
        return f"is longer than {MAX_DNS_BYTES} bytes"
    labels = form.removeprefix("*.").split(".")
    if "*" in "".join(labels):
        return "may have a wildcard only as its whole first label, e.g. *.example.org"
    if not form.isascii():
        return "must be in ASCII; write international names in their xn-- form"
    if not all(_LDH.fullmatch(label) for label in labels):
        return "must consist of labels of 1 to 63 letters, digits and inner hyphens, with dots between them"
    if labels[-1].isdigit():
        return "looks like an IP address; a DNS name's last label is not a number"
    if any(not _valid_a_label(label) for label in labels):
        return "has an xn-- label that decodes to nothing international"
    return ""


def careless_reading(name: str) -> str:
    """How a careless reader might understand the name: IDNA undone, compatibility forms and odd dots folded."""
    folded = unicodedata.normalize("NFKC", name)
    folded = re.sub("[\u3002\uff0e\uff61\u2024]", ".", folded)  # IDNA 2003 (RFC 3490 3.1) takes these for dots
    labels = [_undo_punycode(label) for label in folded.casefold().split(".")]
    return unicodedata.normalize("NFKC", ".".join(labels)).casefold().strip(".")


def _covers_reserved(name: str) -> bool:
    base = name.removeprefix("*.")
    if base == RESERVED_DNS or base.endswith("." + RESERVED_DNS):
        return True
    return name == "*" or (name != base and RESERVED_DNS.partition(".")[2] == base)


def _undo_punycode(label: str) -> str:
    if not label.startswith("xn--"):
        return label
    try:
        return label[4:].encode("ascii").decode("punycode")
    except UnicodeError:
        return label


def _valid_a_label(label: str) -> bool:
    """RFC 5890 2.3.2.1: an A-label stands for a U-label, which has at least one non-ASCII character."""
    return not label.startswith("xn--") or not _undo_punycode(label).isascii()
