"""What certifies new authorities, put together and set going."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ca.catalog import UpstreamParts, upstream_authority
from ca.upstreams import disk, nested, self_signed, vault_pki
from sds.agent.datadir import DataFolder
from sds.agent.dial import LinkOptions
from sds.agent.errors import AgentError
from sds.backoff import Backoff
from sds.clock import Clock
from sds.config import ServerConfig
from sds.config.ca.upstream import DiskUpstreamSection, SdsUpstreamSection
from sds.config.vault_uses import VaultPkiUpstreamSection
from sds.server.datadir import DataDirUnusable
from sds.server.upstream.files import IssuerPaths, WatchedIssuer
from sds.server.upstream.link import Place, UpstreamServer
from sds.server.upstream.pki import WatchedMount
from sds.server.upstream.roots import Roots
from sds.server.upstream.service import RunningUpstream
from sds.server.upstream.watch import UpstreamObserver, UpstreamWatch
from sds.vault.pki_upstream import AsyncVault, VaultPki

FOLDER = "upstream"
"""In the data folder: this server's SVID, key and bundle as an agent of its upstream."""


async def open_upstream(
    config: ServerConfig,
    serial_source: Callable[[], int],
    roots: Roots,
    clock: Clock,
    observer: UpstreamObserver,
    vault: AsyncVault | None = None,
) -> RunningUpstream:
    """Its loop runs when this returns; close it. Raises DataDirUnusable."""
    section, backdate = config.ca.upstream, config.ca.backdate
    if section.plugin == self_signed.NAME:
        authority = upstream_authority(UpstreamParts(serial_source, backdate), section.plugin)
        return RunningUpstream(authority, None, None, lambda: None)
    watch = UpstreamWatch(section.plugin, observer)
    if section.plugin == disk.NAME:
        files = _files(section.disk, config, serial_source, watch, clock)
        await files.look()
        authority = upstream_authority(UpstreamParts(serial_source, backdate, disk=files), section.plugin)
        task = asyncio.create_task(files.run(roots.follow), name="upstream files")
        return RunningUpstream(authority, watch, task, lambda: None)
    if section.plugin == vault_pki.NAME:
        mount = _mount(section.vault_pki, config, vault, watch, clock)
        authority = upstream_authority(UpstreamParts(serial_source, backdate, vault_pki=mount), section.plugin)
        task = asyncio.create_task(mount.run(roots.follow), name="upstream in Vault")
        return RunningUpstream(authority, watch, task, lambda: None, remote=True)
    folder = await asyncio.to_thread(_folder, config)
    server = _server(section.sds, config, folder, watch, clock)
    authority = upstream_authority(UpstreamParts(serial_source, backdate, sds=server), nested.NAME)
    task = asyncio.create_task(server.run(roots), name="upstream server")
    return RunningUpstream(authority, watch, task, folder.close, remote=True)


def _files(
    section: DiskUpstreamSection,
    config: ServerConfig,
    serial_source: Callable[[], int],
    watch: UpstreamWatch,
    clock: Clock,
) -> WatchedIssuer:
    if section.cert_file is None or section.key_file is None:
        raise ValueError("the configuration was not checked")
    paths = IssuerPaths(section.cert_file, section.key_file, section.bundle_file)
    return WatchedIssuer(paths, config.trust_domain, serial_source, watch, clock, section.reload_interval)


def _mount(
    section: VaultPkiUpstreamSection,
    config: ServerConfig,
    vault: AsyncVault | None,
    watch: UpstreamWatch,
    clock: Clock,
) -> WatchedMount:
    if not section.mount or vault is None:
        raise ValueError("the configuration was not checked")
    engine = VaultPki(vault, section.mount, section.issuer, section.path_length)
    return WatchedMount(engine, section.bundle_file, config.trust_domain, watch, clock, section.poll_interval)


def _server(
    section: SdsUpstreamSection, config: ServerConfig, folder: DataFolder, watch: UpstreamWatch, clock: Clock
) -> UpstreamServer:
    if section.server is None:
        raise ValueError("the configuration was not checked")
    attest = section.attest_server or section.server.next_port()
    place = Place(str(section.server), str(attest), section.trust_bundle, section.join_token_file)
    options = LinkOptions(call_timeout=section.call_timeout)
    backoff = Backoff(section.backoff_min, section.backoff_max)
    return UpstreamServer(place, folder, config.trust_domain, options, backoff, watch, clock)


def _folder(config: ServerConfig) -> DataFolder:
    """Blocks. Raises DataDirUnusable."""
    try:
        return DataFolder(config.data_dir / FOLDER)
    except AgentError as error:
        raise DataDirUnusable(str(error)) from error
