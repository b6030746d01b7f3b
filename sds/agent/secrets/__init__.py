"""Named secrets of local workloads: who wants which, and their values in memory; read `desk.py` first."""
