"""Compare methods on a user's own data: train them and evaluate them on held-out cases."""
