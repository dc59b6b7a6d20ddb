"""Which trial runs next, which one stops early, and how a trial gets more epochs."""
