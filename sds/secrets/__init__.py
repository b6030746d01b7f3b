"""Named secrets: what they are, who may have them, whether a value is fit to be sent. No SQL, no Vault, no gRPC."""
