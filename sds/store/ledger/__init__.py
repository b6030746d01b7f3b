"""The audit log beyond its events: tree, checkpoints, and who was told of it how far."""
