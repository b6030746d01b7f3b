"""What stands above a leaf: signing certificates, the paths from them to a root, and cross-signing."""
