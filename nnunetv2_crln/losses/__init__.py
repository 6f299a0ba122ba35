"""Losses of the method, one per file; they import torch alone."""
