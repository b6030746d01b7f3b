"""What the agent saw, on disk until the server has taken it in. Serving never waits for it."""
