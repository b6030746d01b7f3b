"""JWT-SVIDs on the agent: asked for, kept until they expire, and validated."""
