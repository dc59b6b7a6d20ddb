"""What leaves a sweep: a model, predictions, tables, files to hand in."""
