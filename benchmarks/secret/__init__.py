"""Named secrets: how fast a change is pushed, what many of them cost, and how often Vault is asked."""
