"""Foundations below all other packages: files, processes, locks, seeds, advised commands."""
