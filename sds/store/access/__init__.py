"""Who may use the admin API: role bindings, API tokens, sessions, and what waits for a second pair of eyes."""
