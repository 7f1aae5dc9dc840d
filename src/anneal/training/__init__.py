"""The training loop, evaluation and update rules: objects in, records out."""
