"""minBERT over packed tokens: encoder, heads, and the rows that task gradients are written to."""
