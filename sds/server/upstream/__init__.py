"""What is above this server: an authority on disk, or another sds server. Watched, followed, and missed aloud."""
