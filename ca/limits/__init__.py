"""What a certificate profile allows: names, subjects, purposes, addresses. Pure values that judge other values."""
