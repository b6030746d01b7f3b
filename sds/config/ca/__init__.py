"""The sections of the certificate authority."""
