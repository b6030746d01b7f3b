"""What was issued and to whom it belongs, as people look for it."""
