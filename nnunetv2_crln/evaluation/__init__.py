"""Evaluate segmentations: metrics, bootstrap, comparison of models."""
