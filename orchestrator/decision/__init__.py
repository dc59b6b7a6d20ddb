"""The decision: a plan, one configuration of each method, fresh seeds in looks, and a verdict."""
