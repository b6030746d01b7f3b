"""The custodians of authority keys, one module a plugin; `ca.catalog` is their table."""
