"""The process on each node: attests workloads, gets their certificates signed and streams them to sidecars."""
