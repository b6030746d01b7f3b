"""Who may use the admin API: tokens, bindings, sessions and approvals over the store."""
