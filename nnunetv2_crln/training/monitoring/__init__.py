"""Monitor a training without changing it."""
