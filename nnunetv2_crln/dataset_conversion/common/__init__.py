"""Shared by the dataset conversion scripts: reading, checking and writing cases, splits, summaries."""
