"""Puts the server together; read `build.py` first."""
