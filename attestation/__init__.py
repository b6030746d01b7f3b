"""Floor 1: who is calling. SPIFFE IDs, selectors, registration entries and the attestors that prove facts."""
