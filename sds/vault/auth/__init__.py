"""The ways to prove to Vault who we are; `method.py` says what one is, `catalog.py` names them."""
