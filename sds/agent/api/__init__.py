"""HTTP on a Unix socket for applications that read secrets themselves, without a sidecar."""
