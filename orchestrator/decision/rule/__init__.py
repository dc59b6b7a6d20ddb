"""The group-sequential rule: looks, their boundaries and intervals, and the power of a plan."""
