"""Servers below this one: who they are, and what is signed for them."""
