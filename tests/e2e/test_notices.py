"""An identity that nobody renews, from the front door to the mailbox and the webhook, and over a restart."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.harness.cli import sds
from tests.e2e.harness.sds_client import mosn
from tests.e2e.harness.wait import eventually
from tests.e2e.harness.world import World, world
from tests.fakes.http_server import Replying, answer, replying
from tests.fakes.mail_server import MailServer, Received, mail_server

pytestmark = pytest.mark.e2e
KEY = b"k" * 32
WITHIN = 150.0


@dataclass(slots=True)
class Told:
    """A server that tells this mailbox and this webhook."""

    world: World
    mail: MailServer
    hook: Replying

    async def notices(self, query: str = "") -> list[dict[str, Any]]:
        return (await self.world.stack.call("GET", f"/v1/notices{query}")).json()["notices"]

    def mails(self, what: str) -> list[Received]:
        """Those with this text."""
        return [one for one in self.mail.received if what in one.message.get_body(("plain",)).get_content()]

    async def mailed(self, what: str) -> Received:
        async def looked() -> list[Received]:
            return self.mails(what)

        return (await eventually(looked, WITHIN))[0]


@pytest.fixture
async def told(tmp_path: Path) -> AsyncIterator[Told]:
    key = tmp_path / "key"
    key.write_bytes(KEY)
    key.chmod(0o600)
    async with mail_server() as mail, world() as made:
        with replying(answer(204, b"")) as hook:
            prefix = "SDS_SERVER_NOTICES__"
            made.stack.server_env = {
                f"{prefix}{name}": value
                for name, value in {
                    "DEFAULT": "ops@example.org",
                    "OWNERS": "payments=pay@example.org",
                    "DIGEST": "1s",
                    "PAUSE": "0s",
                    "INTERVAL": "1s",
                    "SETTLE": "0s",
                    "SMTP__HOST": "127.0.0.1",
                    "SMTP__PORT": str(mail.port),
                    "SMTP__SECURITY": "none",
                    "SMTP__SENDER": "sds@example.org",
                    "WEBHOOK__URL": f"http://127.0.0.1:{hook.where}/hook",
                    "WEBHOOK__SIGNING_KEY_FILE": str(key),
                }.items()
            }
            await made.start()
            yield Told(made, mail, hook)


async def test_an_identity_that_nobody_renews_is_told_and_then_that_it_is_over(told: Told) -> None:
    made = told.world
    entry = await made.own_entry("short", "--x509-ttl", "10s", "--owner", "payments")
    async with mosn(made.stack.sds_socket, made.id("short")) as client:
        await client.until_holds(made.id("short"))
    assert made.stack.agent is not None
    await made.stack.agent.stop()
    mail = await told.mailed("is not renewed")
    assert mail.recipients == ["pay@example.org"]
    assert mail.message["To"] == "pay@example.org"
    assert made.id("short") in mail.message.get_body(("plain",)).get_content()
    (notice,) = await told.notices("?kind=certificate&recipient=pay@example.org&over=false")
    assert (notice["subject"], notice["owner"]) == (entry["id"], "payments")

    async def called() -> list[int]:
        return [number for number, one in enumerate(told.hook.requests) if b'"kind":"certificate"' in one]

    number = (await eventually(called, WITHIN))[0]
    body = told.hook.requests[number].partition(b"\r\n\r\n")[2]
    time = told.hook.header(number, "x-sds-time")
    signature = hmac.new(KEY, f"{time}.".encode() + body, hashlib.sha256).hexdigest()
    assert told.hook.header(number, "x-sds-signature") == f"sha256={signature}"
    assert json.loads(body)["trust_domain"] == "example.org"

    async def ended() -> bool:  # the last stage: nothing more will be said of it
        found = await told.notices(f"?kind=certificate&recipient=pay@example.org&subject={entry['id']}")
        return found[0]["stage"] == 1 and found[0]["told_stage"] == 1

    await eventually(ended, WITHIN)
    before = len(told.mails("is not renewed"))
    assert made.stack.server is not None
    await made.stack.server.stop()
    await made.stack.start_server()
    await made.stack.call("DELETE", f"/v1/entries/{entry['id']}")
    over = await told.mailed("No longer the case")
    assert made.id("short") in over.message.get_body(("plain",)).get_content()
    assert len(told.mails("is not renewed")) == before + 1  # the last one says that it is over
    actions = {one["action"] for one in (await made.stack.call("GET", "/v1/audit?action=notice.")).json()["events"]}
    assert actions == {"notice.send"}


async def test_a_test_message_and_what_is_listed(told: Told) -> None:
    made = told.world
    socket = str(made.stack.admin_socket)
    ran = (await sds("notice", "test", "ops@example.org", "--admin-socket", socket)).ok()
    assert "ops@example.org" in ran.out
    (mail,) = await told.mail.wait_for(1)
    assert mail.message["Subject"] == "[sds example.org] Test of notices"
    assert mail.message["Auto-Submitted"] == "auto-generated"
    told.mail.refuse["ops@example.org"] = "550 no such user"
    refused = await sds("notice", "test", "ops@example.org", "--admin-socket", socket)
    assert refused.status == 1
    assert "550 no such user" in refused.err
    listed = await made.cli("notice", "list")
    assert isinstance(listed.json["notices"], list)


async def test_a_template_that_could_run_away_keeps_the_server_from_starting(empty_world: World) -> None:
    texts = empty_world.folder / "texts"
    texts.mkdir()
    (texts / "body.txt").write_text("{% for a in groups %}{{ 'x' * 999999999 }}{% endfor %}")
    ran = await sds(
        *("server", "run", "--trust-domain", "example.org", "--data-dir", str(empty_world.folder / "server")),
        *("--listen", "127.0.0.1:0", "--attest-listen", "127.0.0.1:0"),
        env={"SDS_SERVER_NOTICES__TEMPLATES": str(texts)},
    )
    assert ran.status != 0
    assert "body.txt line 1 has what templates of notices may not: Mul" in ran.err
