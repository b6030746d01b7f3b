"""`sds demo`: the whole path in one go, with two real Envoys; the tools that drive them serve the tests too."""
