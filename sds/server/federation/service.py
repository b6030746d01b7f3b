"""Federation, for administrators: which trust domains, by which endpoints, starting from which bundles."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

from attestation.spiffe_id import TrustDomain
from ca.bundle import TrustBundle, parse_pem, parse_spiffe_json
from ca.errors import InvalidBundle
from sds.admin.errors import AlreadyFederated, FieldProblem, InvalidInput
from sds.admin.services import AdminCall, CreatedFederation, FederationInfo
from sds.admin.services.conditions import ANY, Condition
from sds.admin.services.versions import federation_version
from sds.audit.event import AuditEvent, Json, Target
from sds.server.federation.endpoint import check_url
from sds.server.federation.errors import InvalidEndpoint
from sds.server.federation.poller import Caller, bundle_details
from sds.server.services.common import SETTLE_SECONDS, Desk, actor_of
from sds.store.errors import NotFound
from sds.store.federations import BundleSource, EndpointProfile, FederationRecord
from sds.store.unit_of_work import UnitOfWork

MAX_FEDERATIONS = 1000
"""Relationships of one trust domain. Each is a poll now and then, a row, and a label of a metric."""


class Polls(Protocol):
    """sds.server.federation.poller.Poller."""

    def wake(self) -> None: ...

    async def poll(self, trust_domain: TrustDomain, caller: Caller) -> FederationRecord: ...


class FederationService:
    """Implements sds.admin.services.FederationAdmin. `naming` counts entries by the trust domains that they name."""

    def __init__(
        self,
        desk: Desk,
        polls: Polls,
        own: TrustDomain,
        naming: Callable[[], Counter[TrustDomain]],
        most: int = MAX_FEDERATIONS,
    ) -> None:
        self._desk = desk
        self._polls = polls
        self._own = own
        self._naming = naming
        self._most = most

    async def create(
        self, call: AdminCall, trust_domain: TrustDomain, source: BundleSource, unverified_bundle: bytes | None
    ) -> CreatedFederation:
        problems = list(self._problems(trust_domain, source))
        bundle, bundle_problems = _read(trust_domain, unverified_bundle)
        if not bundle_problems and _starts_from_bundle(trust_domain, source):
            bundle_problems = list(_start_problems(bundle))
        if problems or bundle_problems:
            raise InvalidInput([*problems, *bundle_problems])

        def work(uow: UnitOfWork) -> tuple[FederationRecord, bool]:
            uow.federations.lock()
            standing = uow.federations.find(trust_domain)
            if standing is not None:
                if standing.source != source:
                    raise AlreadyFederated(trust_domain.name)
                return standing, False
            if uow.federations.count() >= self._most:
                problem = f"is one more than the {self._most} that there may be"
                raise InvalidInput([FieldProblem("trust_domain", problem)])
            self._check_chain(uow, trust_domain, source)
            record = uow.federations.create(trust_domain, source, bundle)
            details = {**_details(source), "bundle": None if bundle is None else bundle_details(None, bundle)}
            uow.audit.append(self._event(uow, call, "federation.create", trust_domain, details))
            return record, True

        record, created = await self._desk.change(work)
        self._polls.wake()
        return CreatedFederation(self._info(record), created)

    async def all(self) -> tuple[FederationInfo, ...]:
        records = await self._desk.store.read(lambda uow: uow.federations.all())
        naming = self._naming()
        return tuple(FederationInfo(record, naming[record.trust_domain]) for record in records)

    async def get(self, trust_domain: TrustDomain) -> FederationInfo:
        return self._info(await self._desk.store.read(lambda uow: uow.federations.get(trust_domain)))

    async def bundle(self, trust_domain: TrustDomain) -> TrustBundle:
        bundle = (await self.get(trust_domain)).record.bundle
        if bundle is None:
            raise NotFound("bundle of the trust domain", trust_domain.name)
        return bundle

    async def update(
        self, call: AdminCall, trust_domain: TrustDomain, source: BundleSource, condition: Condition = ANY
    ) -> FederationInfo:
        if problems := list(self._problems(trust_domain, source)):
            raise InvalidInput(problems)

        def work(uow: UnitOfWork) -> FederationRecord:
            before = _as_wanted(uow, trust_domain, condition)
            if before.source == source:
                return before
            self._check_chain(uow, trust_domain, source)
            details = {"before": _details(before.source), "after": _details(source)}
            uow.audit.append(self._event(uow, call, "federation.update", trust_domain, details))
            return uow.federations.use_source(trust_domain, source)

        record = await self._desk.change(work)
        self._polls.wake()
        return self._info(record)

    async def set_bundle(
        self, call: AdminCall, trust_domain: TrustDomain, unverified_bundle: bytes, condition: Condition = ANY
    ) -> FederationInfo:
        bundle, problems = _read(trust_domain, unverified_bundle)
        if bundle is None or problems:
            raise InvalidInput(problems)

        def work(uow: UnitOfWork) -> FederationRecord:
            before = _as_wanted(uow, trust_domain, condition)
            if before.bundle == bundle:
                return before
            details = bundle_details(before.bundle, bundle)
            uow.audit.append(self._event(uow, call, "federation.bundle", trust_domain, details))
            return uow.federations.set_bundle(trust_domain, bundle)

        return self._info(await self._desk.change(work))

    async def refresh(self, call: AdminCall, trust_domain: TrustDomain) -> FederationInfo:
        record = await self._desk.store.read(lambda uow: uow.federations.get(trust_domain))
        if record.source.profile is EndpointProfile.STATIC:
            raise InvalidInput([FieldProblem("profile", "is static: there is no endpoint to ask; set a bundle")])
        record = await self._polls.poll(trust_domain, Caller(actor_of(call), call.request_id))
        await self._desk.settled(SETTLE_SECONDS)
        return self._info(record)

    async def delete(self, call: AdminCall, trust_domain: TrustDomain, condition: Condition = ANY) -> FederationInfo:
        entries = self._naming()[trust_domain]

        def work(uow: UnitOfWork) -> FederationRecord:
            _as_wanted(uow, trust_domain, condition)
            record = uow.federations.delete(trust_domain)
            details = {**_details(record.source), "entries": entries}
            uow.audit.append(self._event(uow, call, "federation.delete", trust_domain, details))
            return record

        return self._info(await self._desk.change(work))

    def _info(self, record: FederationRecord) -> FederationInfo:
        return FederationInfo(record, self._naming()[record.trust_domain])

    def _event(
        self, uow: UnitOfWork, call: AdminCall, action: str, trust_domain: TrustDomain, details: Mapping[str, Json]
    ) -> AuditEvent:
        return self._desk.event(uow.now, call, action, Target("trust_domain", trust_domain.name), details)

    def _problems(self, trust_domain: TrustDomain, source: BundleSource) -> Iterator[FieldProblem]:
        """What is wrong with the parameters by themselves (Federation 5.1, 5.2)."""
        static = source.profile is EndpointProfile.STATIC
        if trust_domain == self._own:
            yield FieldProblem("trust_domain", "is our own trust domain")
        if static and source.endpoint_url:
            yield FieldProblem("endpoint_url", "means nothing for the profile static")
        if not static:
            try:
                check_url(source.endpoint_url)
            except InvalidEndpoint as error:
                yield FieldProblem("endpoint_url", str(error))
        if source.profile is not EndpointProfile.HTTPS_SPIFFE:
            if source.endpoint_id is not None:
                yield FieldProblem("endpoint_id", f"means nothing for the profile {source.profile}")
        elif source.endpoint_id is None:
            yield FieldProblem("endpoint_id", "is needed for the profile https_spiffe")
        elif not source.endpoint_id.path:
            yield FieldProblem("endpoint_id", "is the ID of a trust domain, which no server has")

    def _check_chain(self, uow: UnitOfWork, trust_domain: TrustDomain, source: BundleSource) -> None:
        """An endpoint in a third trust domain is known by that one's bundle (5.2.2.2). Raises InvalidInput."""
        endpoint_id = source.endpoint_id
        if endpoint_id is None or endpoint_id.trust_domain in {trust_domain, self._own}:
            return
        other = uow.federations.find(endpoint_id.trust_domain)
        if other is None or other.bundle is None:
            problem = f"is of {endpoint_id.trust_domain}, of which there is no bundle; federate with it first"
            raise InvalidInput([FieldProblem("endpoint_id", problem)])


def _as_wanted(uow: UnitOfWork, trust_domain: TrustDomain, condition: Condition) -> FederationRecord:
    """The relationship, which nobody else changes until the end of the transaction. Raises NotFound, Conflict."""
    uow.federations.lock()
    record = uow.federations.get(trust_domain)
    condition.check(f"federation {trust_domain.name}", federation_version(record))
    return record


def _read(trust_domain: TrustDomain, unverified: bytes | None) -> tuple[TrustBundle | None, list[FieldProblem]]:
    """PEM, or a SPIFFE document if it begins like a JSON object."""
    if unverified is None:
        return None, []
    parse = parse_spiffe_json if unverified.lstrip()[:1] == b"{" else parse_pem
    try:
        return parse(trust_domain, unverified), []
    except InvalidBundle as error:
        return None, [FieldProblem("bundle", str(error))]


def _starts_from_bundle(trust_domain: TrustDomain, source: BundleSource) -> bool:
    """A self-serving https_spiffe endpoint is known by nothing else (5.2.2.2), and a static one has no endpoint."""
    if source.profile is EndpointProfile.HTTPS_SPIFFE:
        return source.endpoint_id is not None and source.endpoint_id.member_of(trust_domain)
    return source.profile is EndpointProfile.STATIC


def _start_problems(bundle: TrustBundle | None) -> Iterator[FieldProblem]:
    if bundle is None:
        yield FieldProblem("bundle", "is needed to begin with: nothing else proves the endpoint, or there is none")
    elif not bundle.x509_authorities:
        yield FieldProblem("bundle", "has no X.509 authority")


def _details(source: BundleSource) -> dict[str, Json]:
    return {
        "profile": source.profile.value,
        "endpoint_url": source.endpoint_url,
        "endpoint_id": None if source.endpoint_id is None else str(source.endpoint_id),
    }
