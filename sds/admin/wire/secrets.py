"""Named secrets as JSON. Nothing here ever holds a value; those are read in `secret_values`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import Field

from sds.admin.errors import FieldProblem, InvalidInput
from sds.admin.services.secrets import DeletedSecret, SecretDetail, SecretInfo
from sds.admin.wire.common import DurationField, Input, Output, TextField, TimeOut, read, seconds
from sds.admin.wire.grants import GrantedEntryOut, GrantOut, grant_out, granted_entry_out
from sds.secrets.describe import source_json
from sds.secrets.secret import (
    DatabaseSource,
    EmbeddedSource,
    KvSource,
    PkiSource,
    RotationPolicy,
    SecretKind,
    SecretSpec,
    Source,
    VersionInfo,
)

Check = Callable[[SecretSpec], Sequence[FieldProblem]]
Kind = Literal["generic", "map", "certificate", "ca_bundle", "tickets"]
Backend = Literal["embedded", "kv", "database", "pki"]
MAX_PROBLEMS = 100
MAX_FIELDS = 256

_REFERENCE: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = MappingProxyType(
    {
        "embedded": ((), ()),
        "kv": (("mount", "path"), ("fields",)),
        "database": (("mount", "role"), ()),
        "pki": (("mount", "role", "common_name"), ("dns_names", "ttl")),
    }
)
"""Of each backend: what its reference must have, and what it may."""


class SecretSourceIn(Input):
    """Where values come from. A backend has keys of its own: `kv` mount, path, fields; `database` mount, role; `pki`
    mount, role, common_name, dns_names, ttl; `embedded` none.
    """

    backend: Backend = "embedded"
    mount: str | None = None
    path: str | None = None
    fields: Annotated[dict[str, str] | None, Field(max_length=MAX_FIELDS)] = None
    role: str | None = None
    common_name: str | None = None
    dns_names: Annotated[list[str] | None, Field(max_length=MAX_FIELDS)] = None
    ttl: DurationField | None = None

    def misfits(self) -> Iterator[FieldProblem]:
        needed, possible = _REFERENCE[self.backend]
        for name in SecretSourceIn.model_fields:
            given = getattr(self, name) is not None
            if name in needed and not given:
                yield FieldProblem(f"source.{name}", f"is needed for the backend {self.backend}")
            elif given and name not in (*needed, *possible, "backend"):
                yield FieldProblem(f"source.{name}", f"means nothing for the backend {self.backend}")

    def source(self) -> Source:
        """Expects that nothing misfits."""
        mount = self.mount or ""
        match self.backend:
            case "embedded":
                return EmbeddedSource()
            case "kv":
                return KvSource(mount, self.path or "", MappingProxyType(dict(self.fields or {})))
            case "database":
                return DatabaseSource(mount, self.role or "")
            case "pki":
                names = tuple(self.dns_names or ())
                return PkiSource(mount, self.role or "", self.common_name or "", names, self.ttl)


class RotationIn(Input):
    every: DurationField | None = None
    generate: int = 0


class SecretIn(Input):
    """What a client says of a secret."""

    name: str
    kind: Kind
    source: SecretSourceIn = SecretSourceIn()
    owner: str = ""
    labels: dict[str, str] = Field(default_factory=dict)
    refresh: DurationField | None = None
    rotation: RotationIn = RotationIn()

    def spec(self) -> SecretSpec:
        return SecretSpec(
            name=self.name,
            kind=SecretKind(self.kind),
            source=self.source.source(),
            owner=self.owner,
            labels=MappingProxyType(dict(self.labels)),
            refresh=self.refresh,
            rotation=RotationPolicy(self.rotation.every, self.rotation.generate),
        )


class SecretAgain(SecretIn):
    """A secret as the API gave it out, edited: what the server sets may stand in it."""

    id: TextField | None = None
    revision: int | None = None
    # Read-only, ignored.
    pinned: Any = None
    state: Any = None
    grants: Any = None
    granted: Any = None
    watchers: Any = None
    created_at: Any = None
    updated_at: Any = None


class RollbackIn(Input):
    """`version` null delivers the newest again."""

    version: Annotated[int, Field(ge=1, lt=2**63)] | None


class RotationOut(Output):
    every: int | float | None
    generate: int


class StateOut(Output):
    """`version` is empty before the first, `problem` if there is none."""

    version: str
    changed_at: TimeOut | None
    checked_at: TimeOut | None
    not_after: TimeOut | None
    problem: str
    problem_code: str
    problem_since: TimeOut | None


class SecretOut(Output):
    """`grants` and `watchers` are numbers; `watchers` are agents that are connected to this replica."""

    id: str
    revision: int
    name: str
    kind: str
    source: dict[str, Any]
    owner: str
    labels: dict[str, str]
    refresh: int | float | None
    rotation: RotationOut
    pinned: int | None
    state: StateOut
    grants: int
    watchers: int
    created_at: TimeOut
    updated_at: TimeOut


class SecretDetailOut(SecretOut):
    """`granted` has the oldest 100 of the grants."""

    granted: list[GrantOut]


class SecretPage(Output):
    secrets: list[SecretOut]
    next_cursor: str | None


class DeletedSecretOut(Output):
    """The lists have at most 100, the totals count all. `versions`: values that lie here and go with it."""

    dry_run: bool
    secret: SecretOut
    granted: list[GrantOut]
    entries: list[GrantedEntryOut]
    entries_total: int
    versions: int


class VersionOut(Output):
    """`state`: live, deleted or destroyed."""

    version: str
    created_at: TimeOut | None
    created_by: str
    state: str


class VersionsOut(Output):
    versions: list[VersionOut]


def secret_out(info: SecretInfo) -> SecretOut:
    return SecretOut(**_common(info))


def detail_out(detail: SecretDetail) -> SecretDetailOut:
    name = detail.info.secret.name
    return SecretDetailOut(**_common(detail.info), granted=[grant_out(each, name) for each in detail.granted])


def deleted_out(deleted: DeletedSecret) -> DeletedSecretOut:
    name = deleted.info.secret.name
    return DeletedSecretOut(
        dry_run=deleted.dry_run,
        secret=secret_out(deleted.info),
        granted=[grant_out(each, name) for each in deleted.granted],
        entries=[granted_entry_out(each) for each in deleted.entries],
        entries_total=deleted.entries_total,
        versions=deleted.versions,
    )


def version_out(version: VersionInfo) -> VersionOut:
    return VersionOut(
        version=version.version, created_at=version.created_at, created_by=version.created_by, state=version.state
    )


def _common(info: SecretInfo) -> dict[str, Any]:
    secret, spec, state = info.secret, info.secret.spec, info.state
    every = spec.rotation.every
    return {
        "id": secret.id,
        "revision": secret.revision,
        "name": spec.name,
        "kind": spec.kind.value,
        "source": source_json(spec.source),
        "owner": spec.owner,
        "labels": dict(sorted(spec.labels.items())),
        "refresh": None if spec.refresh is None else seconds(spec.refresh),
        "rotation": RotationOut(every=None if every is None else seconds(every), generate=spec.rotation.generate),
        "pinned": secret.pinned,
        "state": StateOut(
            version=state.version,
            changed_at=state.changed_at,
            checked_at=state.checked_at,
            not_after=state.not_after,
            problem=state.problem,
            problem_code=state.problem_code,
            problem_since=state.problem_since,
        ),
        "grants": info.grants,
        "watchers": info.watchers,
        "created_at": secret.created_at,
        "updated_at": secret.updated_at,
    }


def read_secret(value: object, check: Check) -> SecretSpec:
    """A new secret. Raises InvalidInput with all problems at once: of the JSON, or else of the rules."""
    return _checked(read(SecretIn, value), check)


def read_replacement(value: object, check: Check) -> tuple[SecretSpec, SecretAgain]:
    """A secret that may carry what the server set. Raises InvalidInput."""
    wanted = read(SecretAgain, value)
    return _checked(wanted, check), wanted


def _checked(wanted: SecretIn, check: Check) -> SecretSpec:
    misfits = list(wanted.source.misfits())
    spec = wanted.spec()
    bad = {each.field for each in misfits}
    problems = [*misfits, *(each for each in check(spec) if each.field not in bad)]
    if problems:
        raise InvalidInput(problems[:MAX_PROBLEMS])
    return spec
