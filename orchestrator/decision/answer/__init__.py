"""The answer to the sweep's question: computed once, and worded for every place that shows it."""
