"""Configuration: one TOML file, environment overrides and flags into frozen, typed models."""

from sds.config.agent import AgentConfig
from sds.config.database import DatabaseSection
from sds.config.load import AGENT_PREFIX, SERVER_PREFIX, env_name, load_agent_config, load_server_config
from sds.config.problems import ConfigError, Problem
from sds.config.reference import render_reference
from sds.config.server import ServerConfig
from sds.config.show import changed_keys, database_url, describe, fingerprint, masked_url
from sds.config.types import Address

__all__ = [
    "AGENT_PREFIX",
    "SERVER_PREFIX",
    "Address",
    "AgentConfig",
    "ConfigError",
    "DatabaseSection",
    "Problem",
    "ServerConfig",
    "changed_keys",
    "database_url",
    "describe",
    "env_name",
    "fingerprint",
    "load_agent_config",
    "load_server_config",
    "masked_url",
    "render_reference",
]
