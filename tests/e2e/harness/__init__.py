"""Real processes for the end-to-end tests; what drives Envoy and sds itself is shared with `sds demo`."""
