"""What this server holds against a registration entry. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from attestation.entry import EntrySpec
from attestation.rules import normalise, validate
from attestation.spiffe_id import TrustDomain
from ca.profile import Profile, ProfileName
from sds.admin.errors import FieldProblem
from sds.durations import format_duration

_PROFILED = ("dns_names", "extra_sans", "subject")


@dataclass(frozen=True, slots=True)
class EntryPolicy:
    """What this server allows beyond the rules that hold everywhere; `profiles` by name, built-in ones included."""

    trust_domain: TrustDomain
    profiles: Mapping[str, Profile]
    min_jwt_ttl: timedelta = timedelta(seconds=5)
    max_jwt_ttl: timedelta = timedelta(hours=1)

    def problems(self, spec: EntrySpec) -> Sequence[FieldProblem]:
        """Everything that the rules and the certificate profile hold against `spec`, by the API's fields."""
        found = [FieldProblem(each.field, each.problem) for each in validate(spec, self.trust_domain)]
        bad = {each.field for each in found}
        if "jwt_ttl" not in bad:
            found += _outside("jwt_ttl", spec.jwt_svid_ttl, self.min_jwt_ttl, self.max_jwt_ttl, "this server")
        profile = self.profiles.get(spec.profile or ProfileName.WORKLOAD)
        if "profile" in bad:
            return found
        if profile is None:
            return [*found, FieldProblem("profile", f"is none of this server's: {', '.join(self._for_workloads())}")]
        if "x509_ttl" not in bad:
            where = f"the profile {profile.name}" if spec.profile else "this server"
            found += _outside("x509_ttl", spec.x509_svid_ttl, profile.min_ttl, profile.max_ttl, where)
        readable = {field: getattr(spec, field) for field in _PROFILED if field not in bad}
        clean = normalise(replace(spec, **{"dns_names": (), "extra_sans": (), "subject": "", **readable}))
        misfits = profile.misfits(clean.dns_names, clean.extra_sans, clean.subject)
        return [*found, *(FieldProblem(field, problem) for field, problem in misfits)]

    def refuses(self, spec: EntrySpec) -> bool:
        """Whether the CA would issue nothing under an entry that stands."""
        profile = self.profiles.get(spec.profile or ProfileName.WORKLOAD)
        if profile is None or (spec.x509_svid_ttl is not None and spec.x509_svid_ttl < profile.min_ttl):
            return True
        return any(True for _ in profile.misfits(spec.dns_names, spec.extra_sans, spec.subject))

    def _for_workloads(self) -> list[str]:
        return sorted(name for name, each in self.profiles.items() if each.holder is ProfileName.WORKLOAD)


def _outside(field: str, ttl: timedelta | None, least: timedelta, most: timedelta, where: str) -> list[FieldProblem]:
    if ttl is None or least <= ttl <= most:
        return []
    return [FieldProblem(field, f"{where} allows {format_duration(least)} to {format_duration(most)}")]
