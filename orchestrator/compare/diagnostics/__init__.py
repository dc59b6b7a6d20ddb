"""Why methods differ: conflicts between tasks, important parameters, unlearned tasks."""
