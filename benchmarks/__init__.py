"""Benchmarks: each is `python -m benchmarks.NAME`, prints one JSON object and compares with a floor of the same run."""
