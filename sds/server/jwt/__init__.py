"""JWT-SVIDs on the server: signed for agents in batches, minted for administrators one at a time."""
