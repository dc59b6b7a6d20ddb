"""Ways of training compared: which is better, by how much, how sure that is, and why.

`rows` puts configurations side by side from their records alone.  `by_method` compares methods: it
reads dev predictions, chooses each method's configuration without the examples that score it, and
bootstraps over dev examples and seeds.  docs/reference/comparison.md has the formulas.
"""
