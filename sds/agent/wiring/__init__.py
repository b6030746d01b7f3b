"""Puts the agent together; read `build.py` first."""
