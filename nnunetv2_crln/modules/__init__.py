"""Modules of the method; they import torch alone."""
