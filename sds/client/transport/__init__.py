"""How calls travel: connections, what bounds them, and what their refusals are."""
