"""Sockets: who may connect, who is at the other end, and the relay that tells grpcio about it."""
