"""Train: the trainer's hooks, the method, data loading and monitoring."""
