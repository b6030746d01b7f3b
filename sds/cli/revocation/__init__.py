"""sds revoke and sds block: taking back what was issued."""
