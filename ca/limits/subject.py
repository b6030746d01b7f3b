"""What a profile lets stand in a certificate's subject."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from types import MappingProxyType

from attestation.dns_name import careless_reading
from attestation.errors import InvalidSubject
from attestation.spiffe_id import TrustDomain
from attestation.subject import UPPER_BOUNDS, Attribute, parse_subject, value_problem
from ca.limits.names import Misfit, NameLimits

_NONE: Mapping[str, int] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class SubjectLimits:
    """The attributes of a leaf's subject: `fixed` ones, then what the entry asks for.

    `fixed` None is the trust domain as the organisation. `allowed` names the attributes that an entry may set, each
    with the number of characters that it may have.
    """

    fixed: tuple[Attribute, ...] | None = None
    allowed: Mapping[str, int] = field(default_factory=lambda: _NONE)

    def __post_init__(self) -> None:
        for name, value in self.fixed or ():
            if problem := value_problem(name, value):
                raise ValueError(f"{name} {problem}")
        for name, length in self.allowed.items():
            if not 1 <= length <= UPPER_BOUNDS.get(name, 0):
                raise ValueError(f"{name} is not an attribute that can be set, or not with {length} characters")
            if name in self._fixed_names and name != "OU":  # units may be nested
                raise ValueError(f"{name} is fixed, so no entry may set it")

    def attributes(self, trust_domain: TrustDomain, subject: str) -> tuple[Attribute, ...]:
        """The attributes for an entry's `subject`, which `misfits` has passed, in the certificate's order."""
        fixed = self.fixed
        if fixed is None:
            fixed = (Attribute("O", trust_domain.name[: UPPER_BOUNDS["O"]]),)
        return (*fixed, *parse_subject(subject))

    def misfits(self, subject: str, names: NameLimits) -> Iterator[Misfit]:
        """Everything in an entry's `subject` that is not allowed; `names` are the profile's, which bind the common
        name as well.
        """
        try:
            asked = parse_subject(subject)
        except InvalidSubject as error:
            yield Misfit("subject", str(error))
            return
        for name, value in asked:
            length = self.allowed.get(name)
            if length is None:
                yield Misfit("subject", f"sets {name}, which the profile does not allow")
            elif len(value) > length:
                yield Misfit("subject", f"has a {name} of {len(value)} characters; the profile allows {length}")
            elif name == "CN" and (problem := host_misfit(value, names)):
                yield Misfit("subject", f"has a common name that {problem}")

    @property
    def _fixed_names(self) -> frozenset[str]:
        return frozenset({"O"} if self.fixed is None else {each.name for each in self.fixed})


def host_misfit(common_name: str, names: NameLimits) -> str:
    """Old verifiers take a common name for a host's (RFC 6125 B.2), so one that reads so must be allowed as a name."""
    form = careless_reading(common_name)
    if _is_address(form):
        return "" if not list(names.misfits((), (f"ip:{form}",))) else "is an address that the profile refuses"
    if "." in form and " " not in form:
        return "" if not names.dns_misfit(form) else "is a DNS name that the profile refuses"
    return ""


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
