"""What travels: JSON read into domain values at the edge, and domain values written as JSON."""
