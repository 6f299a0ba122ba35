"""A small generated dataset, and the whole workflow run on it."""
