"""Federation with other trust domains: their bundles are fetched, judged and kept (SPIFFE Federation)."""
