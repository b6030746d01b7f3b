"""Facts that an agent learns about a local process, one module a source."""
