"""What the server shows and tells of itself where Vault is concerned."""
