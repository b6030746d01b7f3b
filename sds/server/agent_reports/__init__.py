"""What agents report, as it is read and as it is written down."""
