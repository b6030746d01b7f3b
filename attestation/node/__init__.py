"""How nodes prove themselves to the server, one module a way."""
