"""Dynamic credentials: made for each identity, kept alive while it uses them, and revoked when it does no more."""
