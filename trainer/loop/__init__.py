"""What a trial does with its model: steps, evaluation, clock and checkpoints."""
