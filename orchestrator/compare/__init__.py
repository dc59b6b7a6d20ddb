"""Compares ways of training: which is better, by how much, how certain that is, and why.

`configurations` puts configurations side by side, from their records alone. `compare_methods` reads
dev predictions, chooses each method's configuration without the examples that score it, and
bootstraps over dev examples and seeds. docs/reference/comparison.md has the formulas.
"""
