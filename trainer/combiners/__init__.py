"""Combiners: how the gradients of several tasks become one update."""
