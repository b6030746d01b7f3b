"""Floor 6: the server process. Node API, authorised state, signing, authorities, listeners and their wiring."""
