"""Comparison of methods on a user's own data: they are trained, and judged on held-out cases."""
