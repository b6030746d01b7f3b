"""The attributes of a certificate's subject that an entry or a profile writes, in the text form of RFC 4514."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from attestation.dns_name import mentions_reserved
from attestation.entry import RESERVED_DNS
from attestation.errors import InvalidSubject

MAX_SUBJECT_CHARS = 1024
MAX_ATTRIBUTES = 16

UPPER_BOUNDS = {"CN": 64, "OU": 64, "O": 64, "L": 128, "ST": 128, "C": 2, "UID": 256}
"""The attributes that can be set, by the names of RFC 4514 section 3, and how many characters each may have (RFC 5280
appendix A.1; for the user ID, which has no bound there, RFC 4524's).
"""

_ESCAPED = ' "#+,;<=>\\'  # RFC 4514 section 2.4: these may follow a backslash as they are
_COUNTRY = re.compile(r"[A-Z]{2}")
_PAIR = re.compile(r"\s*([A-Za-z][A-Za-z0-9-]*)\s*=")


class Attribute(NamedTuple):
    """One attribute: its name in capitals, as in UPPER_BOUNDS, and its value."""

    name: str
    value: str


def parse_subject(text: str) -> tuple[Attribute, ...]:
    """Read ``CN=web,OU=payments``: the attributes in the certificate's order, which is the text's reversed (RFC 4514
    section 2.1). Raises InvalidSubject with a text that does not repeat the values.

    Only the attributes of UPPER_BOUNDS are known. Sets of values (``+``) and values in hex (``#``) are refused, because
    programs that read subjects from texts disagree about them.
    """
    if len(text) > MAX_SUBJECT_CHARS:
        raise InvalidSubject(f"is longer than {MAX_SUBJECT_CHARS} characters")
    if not text.strip():
        return ()
    found = tuple(_attributes(text))[::-1]
    if len(found) > MAX_ATTRIBUTES:
        raise InvalidSubject(f"has more than {MAX_ATTRIBUTES} attributes")
    names = [each.name for each in found if each.name != "OU"]  # units may be nested, nothing else
    if len(set(names)) != len(names):
        raise InvalidSubject("has an attribute twice")
    for each in found:
        problem = value_problem(each.name, each.value)
        if problem:
            raise InvalidSubject(f"has a value of {each.name} that {problem}")
    return found


def format_subject(attributes: Iterable[Attribute]) -> str:
    """The one text for these attributes (RFC 4514 section 2), which `parse_subject` reads back."""
    return ",".join(f"{each.name}={_escape(each.value)}" for each in reversed(tuple(attributes)))


def value_problem(name: str, value: str) -> str:
    """What is wrong with the value of one attribute; empty if nothing is."""
    if not 1 <= len(value) <= UPPER_BOUNDS[name]:
        return f"has not 1 to {UPPER_BOUNDS[name]} characters"
    if not value.isprintable() or value != value.strip():
        return "has unprintable characters, or blanks around it"
    if not unicodedata.is_normalized("NFC", value):
        return "is not in Unicode's composed form (NFC)"
    if name == "C" and not _COUNTRY.fullmatch(value):
        return "is not a country code of two capital letters"
    if mentions_reserved(value):
        return f"mentions {RESERVED_DNS}, which is reserved for servers"
    if "spiffe:" in unicodedata.normalize("NFKC", value).casefold():
        return "looks like a SPIFFE ID; that stands in the certificate's URI alone"
    return ""


def _attributes(text: str) -> Iterator[Attribute]:
    at = 0
    while True:
        pair = _PAIR.match(text, at)
        if pair is None:
            raise InvalidSubject("is not a list such as CN=web,OU=payments")
        name = pair[1].upper()
        if name not in UPPER_BOUNDS:
            raise InvalidSubject(f"has an attribute other than {', '.join(UPPER_BOUNDS)}")
        value, at = _value(text, pair.end())
        yield Attribute(name, value)
        if at == len(text):
            return
        at += 1  # the comma


def _value(text: str, at: int) -> tuple[str, int]:
    """The value that starts at `at`, and where it ends: at a comma, or at the end of the text."""
    if text[at:].lstrip().startswith("#"):
        raise InvalidSubject("has a value in hex")
    octets = bytearray()
    kept = 0  # up to where trailing blanks are part of the value, because they were escaped
    while at < len(text) and text[at] != ",":
        character, at, escaped = _character(text, at)
        if octets or escaped or character != b" ":  # blanks around a value are not part of it
            octets += character
        if escaped:
            kept = len(octets)
    while len(octets) > kept and octets.endswith(b" "):
        del octets[-1]
    try:
        return octets.decode(), at
    except UnicodeDecodeError:
        raise InvalidSubject("has a value that is not UTF-8") from None


def _character(text: str, at: int) -> tuple[bytes, int, bool]:
    """The octets of what stands at `at`, where the next begins, and whether it was escaped (RFC 4514 section 2.4)."""
    one = text[at]
    if one in '"+;<>\0':
        raise InvalidSubject('has one of the characters " + ; < > without a backslash before it')
    if one != "\\":
        try:
            return one.encode(), at + 1, False
        except UnicodeEncodeError:
            raise InvalidSubject("has a character that does not exist") from None
    follows = text[at + 1 : at + 2]
    if follows and follows in _ESCAPED:
        return follows.encode(), at + 2, True
    try:
        return bytes.fromhex(_hex_pair(text[at + 1 : at + 3])), at + 3, True
    except ValueError:
        raise InvalidSubject("has a backslash that escapes nothing") from None


def _hex_pair(text: str) -> str:
    if len(text) != 2 or not text.isascii() or not text.isalnum():
        raise ValueError("not two hex digits")
    return text


def _escape(value: str) -> str:
    """Values have no blanks around them (`value_problem`), so only special characters need it."""
    text = re.sub(r'(["+,;<=>\\])', r"\\\1", value)
    return "\\" + text if text.startswith("#") else text
