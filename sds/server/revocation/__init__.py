"""Taking back what was issued: the decision, the lists that carry it to every sidecar, and OCSP for those who ask."""
