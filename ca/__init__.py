"""Floor 2: what a proven identity is given. Authorities, X.509-SVIDs, bundles, lifetimes."""
