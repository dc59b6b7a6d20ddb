"""Checks before a sweep starts: its input, its machine, its disk, its memory."""
