"""The audit log's pure part: what an event says and the exact bytes that stand for it."""
