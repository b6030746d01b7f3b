"""What the agent knows, who looks at it, and what they see; read `cache.py` first."""

from sds.agent.cache.cache import Cache

__all__ = ["Cache"]
