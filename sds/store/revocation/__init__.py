"""What was taken back: blocks, the certificates revoked by them, and the lists that say so to the world."""
