"""Why methods differ: conflicts between tasks, important parameters, tasks not learned."""
