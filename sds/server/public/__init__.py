"""What strangers may ask over HTTP: the SPIFFE bundle, OpenID Connect discovery, revocation. Nothing here is secret."""
