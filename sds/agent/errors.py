"""What can go wrong in the agent. Every message is safe to show and says what to do."""

from __future__ import annotations

HOW_TO_ATTEST = "create a token with `sds token create` on the server and start the agent with --join-token-file"


class AgentError(Exception):
    """Base of everything this package raises."""


class DataFolderUnusable(AgentError):
    """The data folder or a file in it cannot be used as it is."""


class IdentityUnusable(AgentError):
    """The agent's own SVID, key or bundle in the data folder is damaged."""


class CannotStart(AgentError):
    """The agent lacks what it needs to prove itself to the server."""


class AttestationFailed(AgentError):
    """The server refused to attest this agent; trying again with the same evidence is no use."""


class ServerUnreachable(AgentError):
    """The server does not answer, or cannot serve now; trying again later may help."""


class ServerUntrusted(AgentError):
    """Whoever answers at the server's address does not prove to be the server."""


class AgentRefused(AgentError):
    """The server knows who we are and serves us no more: banned, deleted, or attested anew elsewhere."""


class CredentialExpired(AgentError):
    """The agent's own SVID has expired, so that it must attest anew."""


class InvalidAnswer(AgentError):
    """The server said something that breaks the protocol."""
