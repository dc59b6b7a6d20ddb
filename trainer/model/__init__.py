"""minBERT on packed tokens: encoder, heads, losses, and where backward puts task gradients."""
