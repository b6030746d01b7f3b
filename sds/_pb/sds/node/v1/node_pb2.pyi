import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class AttestRequest(_message.Message):
    __slots__ = ("type", "payload", "csr")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    CSR_FIELD_NUMBER: _ClassVar[int]
    type: str
    payload: bytes
    csr: bytes
    def __init__(self, type: _Optional[str] = ..., payload: _Optional[bytes] = ..., csr: _Optional[bytes] = ...) -> None: ...

class AttestResponse(_message.Message):
    __slots__ = ("svid", "bundle")
    SVID_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_FIELD_NUMBER: _ClassVar[int]
    svid: X509Svid
    bundle: Bundle
    def __init__(self, svid: _Optional[_Union[X509Svid, _Mapping]] = ..., bundle: _Optional[_Union[Bundle, _Mapping]] = ...) -> None: ...

class RenewRequest(_message.Message):
    __slots__ = ("csr",)
    CSR_FIELD_NUMBER: _ClassVar[int]
    csr: bytes
    def __init__(self, csr: _Optional[bytes] = ...) -> None: ...

class RenewResponse(_message.Message):
    __slots__ = ("svid", "bundle")
    SVID_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_FIELD_NUMBER: _ClassVar[int]
    svid: X509Svid
    bundle: Bundle
    def __init__(self, svid: _Optional[_Union[X509Svid, _Mapping]] = ..., bundle: _Optional[_Union[Bundle, _Mapping]] = ...) -> None: ...

class X509Svid(_message.Message):
    __slots__ = ("spiffe_id", "certificate_chain", "not_after")
    SPIFFE_ID_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_CHAIN_FIELD_NUMBER: _ClassVar[int]
    NOT_AFTER_FIELD_NUMBER: _ClassVar[int]
    spiffe_id: str
    certificate_chain: _containers.RepeatedScalarFieldContainer[bytes]
    not_after: _timestamp_pb2.Timestamp
    def __init__(self, spiffe_id: _Optional[str] = ..., certificate_chain: _Optional[_Iterable[bytes]] = ..., not_after: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Bundle(_message.Message):
    __slots__ = ("trust_domain", "x509_authorities", "sequence", "refresh_hint", "jwt_authorities", "crls", "tainted_authorities")
    TRUST_DOMAIN_FIELD_NUMBER: _ClassVar[int]
    X509_AUTHORITIES_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    REFRESH_HINT_FIELD_NUMBER: _ClassVar[int]
    JWT_AUTHORITIES_FIELD_NUMBER: _ClassVar[int]
    CRLS_FIELD_NUMBER: _ClassVar[int]
    TAINTED_AUTHORITIES_FIELD_NUMBER: _ClassVar[int]
    trust_domain: str
    x509_authorities: _containers.RepeatedScalarFieldContainer[bytes]
    sequence: int
    refresh_hint: _duration_pb2.Duration
    jwt_authorities: _containers.RepeatedCompositeFieldContainer[JwtAuthority]
    crls: _containers.RepeatedScalarFieldContainer[bytes]
    tainted_authorities: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, trust_domain: _Optional[str] = ..., x509_authorities: _Optional[_Iterable[bytes]] = ..., sequence: _Optional[int] = ..., refresh_hint: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., jwt_authorities: _Optional[_Iterable[_Union[JwtAuthority, _Mapping]]] = ..., crls: _Optional[_Iterable[bytes]] = ..., tainted_authorities: _Optional[_Iterable[str]] = ...) -> None: ...

class JwtAuthority(_message.Message):
    __slots__ = ("key_id", "public_key", "not_after")
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    PUBLIC_KEY_FIELD_NUMBER: _ClassVar[int]
    NOT_AFTER_FIELD_NUMBER: _ClassVar[int]
    key_id: str
    public_key: bytes
    not_after: _timestamp_pb2.Timestamp
    def __init__(self, key_id: _Optional[str] = ..., public_key: _Optional[bytes] = ..., not_after: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class FederatedBundles(_message.Message):
    __slots__ = ("bundles",)
    BUNDLES_FIELD_NUMBER: _ClassVar[int]
    bundles: _containers.RepeatedCompositeFieldContainer[Bundle]
    def __init__(self, bundles: _Optional[_Iterable[_Union[Bundle, _Mapping]]] = ...) -> None: ...

class WatchAuthorizedRequest(_message.Message):
    __slots__ = ("resume_revision", "resume_epoch", "agent_version")
    RESUME_REVISION_FIELD_NUMBER: _ClassVar[int]
    RESUME_EPOCH_FIELD_NUMBER: _ClassVar[int]
    AGENT_VERSION_FIELD_NUMBER: _ClassVar[int]
    resume_revision: int
    resume_epoch: str
    agent_version: str
    def __init__(self, resume_revision: _Optional[int] = ..., resume_epoch: _Optional[str] = ..., agent_version: _Optional[str] = ...) -> None: ...

class WatchAuthorizedResponse(_message.Message):
    __slots__ = ("revision", "epoch", "snapshot", "upserted", "removed_entry_ids", "bundle", "server_time", "federated", "audit_checkpoint")
    REVISION_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    UPSERTED_FIELD_NUMBER: _ClassVar[int]
    REMOVED_ENTRY_IDS_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_FIELD_NUMBER: _ClassVar[int]
    SERVER_TIME_FIELD_NUMBER: _ClassVar[int]
    FEDERATED_FIELD_NUMBER: _ClassVar[int]
    AUDIT_CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    revision: int
    epoch: str
    snapshot: bool
    upserted: _containers.RepeatedCompositeFieldContainer[Entry]
    removed_entry_ids: _containers.RepeatedScalarFieldContainer[str]
    bundle: Bundle
    server_time: _timestamp_pb2.Timestamp
    federated: FederatedBundles
    audit_checkpoint: str
    def __init__(self, revision: _Optional[int] = ..., epoch: _Optional[str] = ..., snapshot: _Optional[bool] = ..., upserted: _Optional[_Iterable[_Union[Entry, _Mapping]]] = ..., removed_entry_ids: _Optional[_Iterable[str]] = ..., bundle: _Optional[_Union[Bundle, _Mapping]] = ..., server_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., federated: _Optional[_Union[FederatedBundles, _Mapping]] = ..., audit_checkpoint: _Optional[str] = ...) -> None: ...

class Entry(_message.Message):
    __slots__ = ("id", "revision", "spiffe_id", "selectors", "x509_svid_ttl", "dns_names", "hint", "expires_at", "created_at", "updated_at", "jwt_svid_ttl", "federates_with", "profile", "extra_sans", "subject")
    ID_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    SPIFFE_ID_FIELD_NUMBER: _ClassVar[int]
    SELECTORS_FIELD_NUMBER: _ClassVar[int]
    X509_SVID_TTL_FIELD_NUMBER: _ClassVar[int]
    DNS_NAMES_FIELD_NUMBER: _ClassVar[int]
    HINT_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    UPDATED_AT_FIELD_NUMBER: _ClassVar[int]
    JWT_SVID_TTL_FIELD_NUMBER: _ClassVar[int]
    FEDERATES_WITH_FIELD_NUMBER: _ClassVar[int]
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    EXTRA_SANS_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    id: str
    revision: int
    spiffe_id: str
    selectors: _containers.RepeatedScalarFieldContainer[str]
    x509_svid_ttl: _duration_pb2.Duration
    dns_names: _containers.RepeatedScalarFieldContainer[str]
    hint: str
    expires_at: _timestamp_pb2.Timestamp
    created_at: _timestamp_pb2.Timestamp
    updated_at: _timestamp_pb2.Timestamp
    jwt_svid_ttl: _duration_pb2.Duration
    federates_with: _containers.RepeatedScalarFieldContainer[str]
    profile: str
    extra_sans: _containers.RepeatedScalarFieldContainer[str]
    subject: str
    def __init__(self, id: _Optional[str] = ..., revision: _Optional[int] = ..., spiffe_id: _Optional[str] = ..., selectors: _Optional[_Iterable[str]] = ..., x509_svid_ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., dns_names: _Optional[_Iterable[str]] = ..., hint: _Optional[str] = ..., expires_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., updated_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., jwt_svid_ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., federates_with: _Optional[_Iterable[str]] = ..., profile: _Optional[str] = ..., extra_sans: _Optional[_Iterable[str]] = ..., subject: _Optional[str] = ...) -> None: ...

class SignX509SvidsRequest(_message.Message):
    __slots__ = ("items",)
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[SignItem]
    def __init__(self, items: _Optional[_Iterable[_Union[SignItem, _Mapping]]] = ...) -> None: ...

class SignItem(_message.Message):
    __slots__ = ("entry_id", "csr", "process")
    ENTRY_ID_FIELD_NUMBER: _ClassVar[int]
    CSR_FIELD_NUMBER: _ClassVar[int]
    PROCESS_FIELD_NUMBER: _ClassVar[int]
    entry_id: str
    csr: bytes
    process: ProcessInfo
    def __init__(self, entry_id: _Optional[str] = ..., csr: _Optional[bytes] = ..., process: _Optional[_Union[ProcessInfo, _Mapping]] = ...) -> None: ...

class ProcessInfo(_message.Message):
    __slots__ = ("pid", "uid", "path", "container")
    PID_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    CONTAINER_FIELD_NUMBER: _ClassVar[int]
    pid: int
    uid: int
    path: str
    container: str
    def __init__(self, pid: _Optional[int] = ..., uid: _Optional[int] = ..., path: _Optional[str] = ..., container: _Optional[str] = ...) -> None: ...

class SignX509SvidsResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[SignResult]
    def __init__(self, results: _Optional[_Iterable[_Union[SignResult, _Mapping]]] = ...) -> None: ...

class SignResult(_message.Message):
    __slots__ = ("entry_id", "entry_revision", "svid", "error")
    ENTRY_ID_FIELD_NUMBER: _ClassVar[int]
    ENTRY_REVISION_FIELD_NUMBER: _ClassVar[int]
    SVID_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    entry_id: str
    entry_revision: int
    svid: X509Svid
    error: SignError
    def __init__(self, entry_id: _Optional[str] = ..., entry_revision: _Optional[int] = ..., svid: _Optional[_Union[X509Svid, _Mapping]] = ..., error: _Optional[_Union[SignError, _Mapping]] = ...) -> None: ...

class SignError(_message.Message):
    __slots__ = ("code", "message")
    class Code(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        CODE_UNSPECIFIED: _ClassVar[SignError.Code]
        CODE_NOT_AUTHORIZED: _ClassVar[SignError.Code]
        CODE_CSR_REFUSED: _ClassVar[SignError.Code]
        CODE_UNAVAILABLE: _ClassVar[SignError.Code]
        CODE_REFUSED: _ClassVar[SignError.Code]
    CODE_UNSPECIFIED: SignError.Code
    CODE_NOT_AUTHORIZED: SignError.Code
    CODE_CSR_REFUSED: SignError.Code
    CODE_UNAVAILABLE: SignError.Code
    CODE_REFUSED: SignError.Code
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    code: SignError.Code
    message: str
    def __init__(self, code: _Optional[_Union[SignError.Code, str]] = ..., message: _Optional[str] = ...) -> None: ...

class SignJwtSvidsRequest(_message.Message):
    __slots__ = ("items",)
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[JwtItem]
    def __init__(self, items: _Optional[_Iterable[_Union[JwtItem, _Mapping]]] = ...) -> None: ...

class JwtItem(_message.Message):
    __slots__ = ("entry_id", "audience", "process")
    ENTRY_ID_FIELD_NUMBER: _ClassVar[int]
    AUDIENCE_FIELD_NUMBER: _ClassVar[int]
    PROCESS_FIELD_NUMBER: _ClassVar[int]
    entry_id: str
    audience: _containers.RepeatedScalarFieldContainer[str]
    process: ProcessInfo
    def __init__(self, entry_id: _Optional[str] = ..., audience: _Optional[_Iterable[str]] = ..., process: _Optional[_Union[ProcessInfo, _Mapping]] = ...) -> None: ...

class SignJwtSvidsResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[JwtResult]
    def __init__(self, results: _Optional[_Iterable[_Union[JwtResult, _Mapping]]] = ...) -> None: ...

class JwtResult(_message.Message):
    __slots__ = ("entry_id", "entry_revision", "svid", "error")
    ENTRY_ID_FIELD_NUMBER: _ClassVar[int]
    ENTRY_REVISION_FIELD_NUMBER: _ClassVar[int]
    SVID_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    entry_id: str
    entry_revision: int
    svid: JwtSvid
    error: SignError
    def __init__(self, entry_id: _Optional[str] = ..., entry_revision: _Optional[int] = ..., svid: _Optional[_Union[JwtSvid, _Mapping]] = ..., error: _Optional[_Union[SignError, _Mapping]] = ...) -> None: ...

class JwtSvid(_message.Message):
    __slots__ = ("token", "spiffe_id", "issued_at", "expires_at")
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    SPIFFE_ID_FIELD_NUMBER: _ClassVar[int]
    ISSUED_AT_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    token: str
    spiffe_id: str
    issued_at: _timestamp_pb2.Timestamp
    expires_at: _timestamp_pb2.Timestamp
    def __init__(self, token: _Optional[str] = ..., spiffe_id: _Optional[str] = ..., issued_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., expires_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class SignIntermediateRequest(_message.Message):
    __slots__ = ("csr", "ttl")
    CSR_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    csr: bytes
    ttl: _duration_pb2.Duration
    def __init__(self, csr: _Optional[bytes] = ..., ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class SignIntermediateResponse(_message.Message):
    __slots__ = ("certificate_chain", "upstream_roots")
    CERTIFICATE_CHAIN_FIELD_NUMBER: _ClassVar[int]
    UPSTREAM_ROOTS_FIELD_NUMBER: _ClassVar[int]
    certificate_chain: _containers.RepeatedScalarFieldContainer[bytes]
    upstream_roots: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, certificate_chain: _Optional[_Iterable[bytes]] = ..., upstream_roots: _Optional[_Iterable[bytes]] = ...) -> None: ...

class OcspStaplesRequest(_message.Message):
    __slots__ = ("serials",)
    SERIALS_FIELD_NUMBER: _ClassVar[int]
    serials: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, serials: _Optional[_Iterable[str]] = ...) -> None: ...

class OcspStaplesResponse(_message.Message):
    __slots__ = ("staples",)
    STAPLES_FIELD_NUMBER: _ClassVar[int]
    staples: _containers.RepeatedCompositeFieldContainer[OcspStaple]
    def __init__(self, staples: _Optional[_Iterable[_Union[OcspStaple, _Mapping]]] = ...) -> None: ...

class OcspStaple(_message.Message):
    __slots__ = ("serial", "response", "this_update", "next_update")
    SERIAL_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    THIS_UPDATE_FIELD_NUMBER: _ClassVar[int]
    NEXT_UPDATE_FIELD_NUMBER: _ClassVar[int]
    serial: str
    response: bytes
    this_update: _timestamp_pb2.Timestamp
    next_update: _timestamp_pb2.Timestamp
    def __init__(self, serial: _Optional[str] = ..., response: _Optional[bytes] = ..., this_update: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., next_update: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class WatchSecretsRequest(_message.Message):
    __slots__ = ("wanted", "unwanted")
    WANTED_FIELD_NUMBER: _ClassVar[int]
    UNWANTED_FIELD_NUMBER: _ClassVar[int]
    wanted: _containers.RepeatedCompositeFieldContainer[SecretWant]
    unwanted: _containers.RepeatedCompositeFieldContainer[SecretWant]
    def __init__(self, wanted: _Optional[_Iterable[_Union[SecretWant, _Mapping]]] = ..., unwanted: _Optional[_Iterable[_Union[SecretWant, _Mapping]]] = ...) -> None: ...

class SecretWant(_message.Message):
    __slots__ = ("entry_id", "name", "held_version")
    ENTRY_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    HELD_VERSION_FIELD_NUMBER: _ClassVar[int]
    entry_id: str
    name: str
    held_version: str
    def __init__(self, entry_id: _Optional[str] = ..., name: _Optional[str] = ..., held_version: _Optional[str] = ...) -> None: ...

class WatchSecretsResponse(_message.Message):
    __slots__ = ("updates",)
    UPDATES_FIELD_NUMBER: _ClassVar[int]
    updates: _containers.RepeatedCompositeFieldContainer[SecretUpdate]
    def __init__(self, updates: _Optional[_Iterable[_Union[SecretUpdate, _Mapping]]] = ...) -> None: ...

class SecretUpdate(_message.Message):
    __slots__ = ("name", "entry_ids", "value", "absence")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ENTRY_IDS_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    ABSENCE_FIELD_NUMBER: _ClassVar[int]
    name: str
    entry_ids: _containers.RepeatedScalarFieldContainer[str]
    value: SecretValue
    absence: SecretAbsence
    def __init__(self, name: _Optional[str] = ..., entry_ids: _Optional[_Iterable[str]] = ..., value: _Optional[_Union[SecretValue, _Mapping]] = ..., absence: _Optional[_Union[SecretAbsence, _Mapping]] = ...) -> None: ...

class SecretValue(_message.Message):
    __slots__ = ("kind", "version", "fields", "not_after")
    KIND_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    NOT_AFTER_FIELD_NUMBER: _ClassVar[int]
    kind: str
    version: str
    fields: _containers.RepeatedCompositeFieldContainer[SecretField]
    not_after: _timestamp_pb2.Timestamp
    def __init__(self, kind: _Optional[str] = ..., version: _Optional[str] = ..., fields: _Optional[_Iterable[_Union[SecretField, _Mapping]]] = ..., not_after: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class SecretField(_message.Message):
    __slots__ = ("name", "value")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    name: str
    value: bytes
    def __init__(self, name: _Optional[str] = ..., value: _Optional[bytes] = ...) -> None: ...

class SecretAbsence(_message.Message):
    __slots__ = ("reason",)
    class Reason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        REASON_UNSPECIFIED: _ClassVar[SecretAbsence.Reason]
        REASON_NOT_GRANTED: _ClassVar[SecretAbsence.Reason]
        REASON_UNAVAILABLE: _ClassVar[SecretAbsence.Reason]
        REASON_UNCHANGED: _ClassVar[SecretAbsence.Reason]
    REASON_UNSPECIFIED: SecretAbsence.Reason
    REASON_NOT_GRANTED: SecretAbsence.Reason
    REASON_UNAVAILABLE: SecretAbsence.Reason
    REASON_UNCHANGED: SecretAbsence.Reason
    REASON_FIELD_NUMBER: _ClassVar[int]
    reason: SecretAbsence.Reason
    def __init__(self, reason: _Optional[_Union[SecretAbsence.Reason, str]] = ...) -> None: ...

class ReportDeliveryRequest(_message.Message):
    __slots__ = ("run_id", "sequence", "snapshot", "streams", "closed_stream_ids", "events", "events_dropped", "bundle_sequence", "events_run_id", "events_through", "events_cut")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    STREAMS_FIELD_NUMBER: _ClassVar[int]
    CLOSED_STREAM_IDS_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    EVENTS_DROPPED_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    EVENTS_RUN_ID_FIELD_NUMBER: _ClassVar[int]
    EVENTS_THROUGH_FIELD_NUMBER: _ClassVar[int]
    EVENTS_CUT_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    sequence: int
    snapshot: bool
    streams: _containers.RepeatedCompositeFieldContainer[StreamState]
    closed_stream_ids: _containers.RepeatedScalarFieldContainer[str]
    events: _containers.RepeatedCompositeFieldContainer[DeliveryEvent]
    events_dropped: int
    bundle_sequence: int
    events_run_id: str
    events_through: int
    events_cut: bool
    def __init__(self, run_id: _Optional[str] = ..., sequence: _Optional[int] = ..., snapshot: _Optional[bool] = ..., streams: _Optional[_Iterable[_Union[StreamState, _Mapping]]] = ..., closed_stream_ids: _Optional[_Iterable[str]] = ..., events: _Optional[_Iterable[_Union[DeliveryEvent, _Mapping]]] = ..., events_dropped: _Optional[int] = ..., bundle_sequence: _Optional[int] = ..., events_run_id: _Optional[str] = ..., events_through: _Optional[int] = ..., events_cut: _Optional[bool] = ...) -> None: ...

class StreamState(_message.Message):
    __slots__ = ("id", "protocol", "process", "spiffe_ids", "resources", "opened_at", "node_id")
    ID_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    PROCESS_FIELD_NUMBER: _ClassVar[int]
    SPIFFE_IDS_FIELD_NUMBER: _ClassVar[int]
    RESOURCES_FIELD_NUMBER: _ClassVar[int]
    OPENED_AT_FIELD_NUMBER: _ClassVar[int]
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    protocol: str
    process: ProcessInfo
    spiffe_ids: _containers.RepeatedScalarFieldContainer[str]
    resources: _containers.RepeatedCompositeFieldContainer[ResourceState]
    opened_at: _timestamp_pb2.Timestamp
    node_id: str
    def __init__(self, id: _Optional[str] = ..., protocol: _Optional[str] = ..., process: _Optional[_Union[ProcessInfo, _Mapping]] = ..., spiffe_ids: _Optional[_Iterable[str]] = ..., resources: _Optional[_Iterable[_Union[ResourceState, _Mapping]]] = ..., opened_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., node_id: _Optional[str] = ...) -> None: ...

class ResourceState(_message.Message):
    __slots__ = ("name", "sent_version", "acked_version", "nacked_version", "nack_detail", "sent_at", "acked_at", "acked_serial", "sent_serial", "sent_sequence", "acked_sequence")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SENT_VERSION_FIELD_NUMBER: _ClassVar[int]
    ACKED_VERSION_FIELD_NUMBER: _ClassVar[int]
    NACKED_VERSION_FIELD_NUMBER: _ClassVar[int]
    NACK_DETAIL_FIELD_NUMBER: _ClassVar[int]
    SENT_AT_FIELD_NUMBER: _ClassVar[int]
    ACKED_AT_FIELD_NUMBER: _ClassVar[int]
    ACKED_SERIAL_FIELD_NUMBER: _ClassVar[int]
    SENT_SERIAL_FIELD_NUMBER: _ClassVar[int]
    SENT_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    ACKED_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    name: str
    sent_version: str
    acked_version: str
    nacked_version: str
    nack_detail: str
    sent_at: _timestamp_pb2.Timestamp
    acked_at: _timestamp_pb2.Timestamp
    acked_serial: str
    sent_serial: str
    sent_sequence: int
    acked_sequence: int
    def __init__(self, name: _Optional[str] = ..., sent_version: _Optional[str] = ..., acked_version: _Optional[str] = ..., nacked_version: _Optional[str] = ..., nack_detail: _Optional[str] = ..., sent_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., acked_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., acked_serial: _Optional[str] = ..., sent_serial: _Optional[str] = ..., sent_sequence: _Optional[int] = ..., acked_sequence: _Optional[int] = ...) -> None: ...

class DeliveryEvent(_message.Message):
    __slots__ = ("number", "time", "action", "outcome", "reason", "process", "stream_id", "resource", "version", "selectors", "spiffe_ids")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    PROCESS_FIELD_NUMBER: _ClassVar[int]
    STREAM_ID_FIELD_NUMBER: _ClassVar[int]
    RESOURCE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    SELECTORS_FIELD_NUMBER: _ClassVar[int]
    SPIFFE_IDS_FIELD_NUMBER: _ClassVar[int]
    number: int
    time: _timestamp_pb2.Timestamp
    action: str
    outcome: str
    reason: str
    process: ProcessInfo
    stream_id: str
    resource: str
    version: str
    selectors: _containers.RepeatedScalarFieldContainer[str]
    spiffe_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, number: _Optional[int] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., action: _Optional[str] = ..., outcome: _Optional[str] = ..., reason: _Optional[str] = ..., process: _Optional[_Union[ProcessInfo, _Mapping]] = ..., stream_id: _Optional[str] = ..., resource: _Optional[str] = ..., version: _Optional[str] = ..., selectors: _Optional[_Iterable[str]] = ..., spiffe_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class ReportDeliveryResponse(_message.Message):
    __slots__ = ("resync",)
    RESYNC_FIELD_NUMBER: _ClassVar[int]
    resync: bool
    def __init__(self, resync: _Optional[bool] = ...) -> None: ...
