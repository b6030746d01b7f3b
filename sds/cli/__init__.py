"""Commands. Those that change or read the server are clients of its admin API, so they are audited."""
