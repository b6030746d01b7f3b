"""One file a noun; each is a class of handlers with a `mount`."""
