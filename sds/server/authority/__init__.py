"""The authorities of the trust domain in this process: their keys, their slots, and what moves them."""
