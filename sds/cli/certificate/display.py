"""Certificates for people."""

from __future__ import annotations

from sds.cli.options import Format
from sds.cli.output import print_facts, print_json, print_table, say
from sds.cli.text import moment
from sds.client.certificates import Certificate, CertificateDetail, Found
from sds.clock import SystemClock

HEADINGS = ("SERIAL", "SPIFFE ID", "STATE", "ISSUED", "EXPIRES", "PROFILE", "AGENT", "OWNER")
EMPTY = "There are no such certificates."


def row(one: Certificate) -> tuple[str, ...]:
    now = SystemClock().now()
    issued, expires = moment(one.issued_at, now, "not recorded"), moment(one.not_after, now)
    return (
        *(one.serial, one.spiffe_id, one.state, issued, expires),
        *(one.profile or "-", one.agent_id or "-", one.owner or "-"),
    )


def show_one(one: CertificateDetail, output: Format) -> None:
    if output is Format.JSON:
        print_json(one.document)
        return
    print_facts(_facts(one))
    say("")
    if one.holders:
        say("These live streams hold it:")
        rows = [
            (each.agent_id, str(each.process.pid), each.process.path or "-", each.protocol, each.node_id or "-")
            for each in one.holders
        ]
        print_table(("AGENT", "PID", "PROCESS", "PROTOCOL", "NODE"), rows, "")
        if one.holders_total > len(rows):
            say(f"and {one.holders_total - len(rows)} more")
    else:
        say("No live stream holds it now.")
    if one.chain_pem:
        say("")
        for line in one.chain_pem.splitlines():
            say(line)


def _facts(one: CertificateDetail) -> list[tuple[str, str | list[str]]]:
    now = SystemClock().now()
    process = one.process
    who = f"pid {process.pid}, uid {process.uid}, {process.path or '-'}" if process.pid else ""
    revoked: list[tuple[str, str | list[str]]] = []
    if one.revoked_at is not None:
        revoked = [("Revoked", f"{moment(one.revoked_at, now)}, {one.revoked_reason}"), ("Block", one.block_id)]
    return [
        ("Serial", one.serial),
        ("SPIFFE ID", one.spiffe_id),
        ("State", one.state),
        *revoked,
        ("Issued", moment(one.issued_at, now, "not recorded")),
        ("Valid from", moment(one.not_before, now)),
        ("Expires", moment(one.not_after, now)),
        ("Profile", one.profile),
        ("DNS names", list(one.dns_names)),
        ("Key", one.key_hash),
        ("Authority", one.authority_id),
        ("Entry", f"{one.entry_id}, revision {one.entry_revision}" if one.entry_id else ""),
        ("Agent", one.agent_id or ""),
        ("Asked for by", who),
        ("Owner", one.owner),
        ("Labels", [f"{key}={text}" for key, text in one.labels.items()]),
    ]


def print_found(found: Found) -> None:
    print_table(HEADINGS, map(row, found.certificates), "Nothing of it is known here.")
    for one in found.unknown:
        say(f"Certificate {one.number} of the file is not known here: serial {one.serial}, key {one.key_hash}")
