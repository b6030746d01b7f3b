"""The sections of named secrets."""
