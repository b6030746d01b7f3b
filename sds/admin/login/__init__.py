"""Who a caller of the network is: API tokens, OpenID Connect, client certificates, and the sessions of people."""
