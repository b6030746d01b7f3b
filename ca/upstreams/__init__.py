"""The upstream authorities (ca.upstream), one module each; their table is in ca.catalog."""
