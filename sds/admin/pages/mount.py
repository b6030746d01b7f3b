"""Every page, in the order of the navigation."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from fastapi import FastAPI

from sds.admin.pages.access import AccessPages
from sds.admin.pages.audit import AuditPages
from sds.admin.pages.authorities import AuthorityPages
from sds.admin.pages.certificates import CertificatePages
from sds.admin.pages.entries import EntryPages
from sds.admin.pages.fleet import FleetPages
from sds.admin.pages.live import Live, LiveLimits
from sds.admin.pages.login import LoginPage
from sds.admin.pages.notices import NoticePages
from sds.admin.pages.overview import OverviewPages
from sds.admin.pages.revoke import RevokePages
from sds.admin.pages.secrets import SecretPages
from sds.admin.pages.site import Site
from sds.admin.services import AdminServices


def mount_pages(
    app: FastAPI,
    services: AdminServices,
    now: Callable[[], datetime],
    *,
    provider: Callable[[], bool] = lambda: False,
    limits: LiveLimits | None = None,
) -> Site:
    """Puts the pages beside /v1. `provider`: whether people can log in at an OpenID provider."""
    site = Site(app, services.audit, now)
    OverviewPages().mount(site)
    CertificatePages().mount(site)
    FleetPages().mount(site)
    EntryPages(services.entries).mount(site)
    SecretPages().mount(site)
    AuthorityPages().mount(site)
    RevokePages().mount(site)
    AccessPages().mount(site)
    NoticePages().mount(site)
    LoginPage(provider).mount(site)
    AuditPages().mount(site)
    site.extras(Live(services.audit, limits))
    return site
