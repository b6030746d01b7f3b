"""Floor 3: how it gets there. Delivery, secrets, audit, rotation, storage and the processes."""

__version__ = "0.1.0"
