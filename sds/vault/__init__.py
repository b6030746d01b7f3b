"""HashiCorp Vault and OpenBao: a client that keeps its own token alive. The only user of hvac."""
