"""`orch plan`: what fresh seeds can decide, from what the search has shown so far."""
