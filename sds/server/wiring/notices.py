"""Notices, put together: what is due, whom it is told, by what."""

from __future__ import annotations

import asyncio
import os
from datetime import timedelta
from uuid import uuid4

from attestation.spiffe_id import TrustDomain
from ca.masked import Masked
from sds.config import ConfigError, Problem, ServerConfig
from sds.config.noticing.channels import NoticeWebhook, SmtpSection
from sds.config.noticing.section import NoticesSection
from sds.durations import parse_duration
from sds.notices.notice import Channel, Kind
from sds.notices.plan import Daily, Digest, Every
from sds.notices.recipients import Recipients, domain_of
from sds.notices.rules import Policy
from sds.server.notices.engine import NoticeEngine, NoticeParts, NoticeRules
from sds.server.notices.outgoing import Sender
from sds.server.notices.texts import Texts, load_texts
from sds.server.notices.webhook import Webhook, WebhookOptions
from sds.server.secrets.hook_keys import LONGEST, SHORTEST, read_key
from sds.server.wiring.core import Core


async def open_notices(core: Core) -> NoticeEngine:
    """Tries the templates and reads the webhook's key. Raises ConfigError."""
    section = core.config.notices
    texts = await asyncio.to_thread(load_texts, section.templates, html=section.html)
    senders: dict[Channel, Sender] = {}
    if section.smtp.host is not None:
        senders[Channel.MAIL] = _mailer(section.smtp, section.smtp.host, texts, core.config.trust_domain)
    if section.webhook.url is not None:
        options = await asyncio.to_thread(_webhook, section.webhook, section.webhook.url)
        senders[Channel.WEBHOOK] = Webhook(options, str(core.config.trust_domain))
    parts = NoticeParts(
        store=core.store,
        events=core.events,
        clock=core.clock,
        metrics=core.telemetry.metrics.notices,
        senders=senders,
        new_id=lambda: uuid4().hex,
        holder=uuid4().hex,
    )
    return NoticeEngine(parts, notice_rules(section, str(core.config.trust_domain), core.events.node))


def use_notices(engine: NoticeEngine, config: ServerConfig) -> None:
    """What may change while serving: what is told, when and to whom. How it is sent may not."""
    engine.use(lambda node: notice_rules(config.notices, str(config.trust_domain), node))


def notice_rules(section: NoticesSection, trust_domain: str, node: str) -> NoticeRules:
    stages = section.stages
    return NoticeRules(
        policy=Policy(
            certificates=stages.certificates,
            authorities=stages.authorities,
            secrets=stages.secrets,
            tokens=stages.tokens,
            unheld=stages.unheld,
            unused=stages.unused,
            stale=stages.stale,
            silent=stages.silent,
            behind=stages.behind,
            problem=stages.problem,
            urgent=frozenset(map(Kind, section.urgent)),
        ),
        recipients=recipients(section),
        digest=_digest(section.digest),
        pause=section.pause,
        interval=section.interval,
        settle=section.settle,
        attempts=section.attempts,
        most=section.max_standing,
        keep=section.keep,
        enabled=section.enabled,
        trust_domain=trust_domain,
        node=node,
    )


def recipients(section: NoticesSection) -> Recipients:
    owners = section.owner_addresses
    named = {*section.default, *(address for each in owners.values() for address in each)}
    if section.smtp.sender is not None:
        named.add(section.smtp.sender)
    return Recipients(
        fallback=section.default,
        owners=owners,
        domains=frozenset(map(str.lower, section.owner_domains or map(domain_of, named))),
        everything=section.everything,
        mail=section.smtp.host is not None,
        webhook=section.webhook.url is not None,
    )


def _digest(text: str) -> Digest:
    hour, colon, minute = text.partition(":")
    return Daily(int(hour) * 60 + int(minute)) if colon else Every(parse_duration(text))


def _mailer(section: SmtpSection, host: str, texts: Texts, trust_domain: TrustDomain) -> Sender:
    # Python's parser of mail headers is slow to load, and few servers send mail.
    from sds.server.notices.mail import Mailer, MailOptions, password_from  # noqa: PLC0415

    options = MailOptions(
        host=host,
        port=section.port_or_default,
        security=section.security,
        sender=section.sender or "",
        timeout=section.timeout / timedelta(seconds=1),
        ca_file=section.ca_file,
        user=section.user,
        password=password_from(section.password_file, section.password_env),
    )
    return Mailer(options, texts, trust_domain)


def _webhook(section: NoticeWebhook, url: str) -> WebhookOptions:
    """Raises ConfigError. Blocks."""
    key = read_key("notices.webhook.signing_key_file", section.signing_key_file)
    if key is None and section.signing_key_env is not None:
        value = os.environ.get(section.signing_key_env, "").encode()
        key = Masked(value) if SHORTEST <= len(value) <= LONGEST else None
    if key is None:
        problem = f"names a variable that has not {SHORTEST} to {LONGEST} bytes in it"
        raise ConfigError([Problem("notices.webhook.signing_key_env", problem)])
    return WebhookOptions(url, key, section.timeout / timedelta(seconds=1), section.ca_file)
