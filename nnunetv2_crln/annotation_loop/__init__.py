"""Annotation loop around a training: add scans, choose the next ones to annotate, add their labels."""
