"""Demo: generate a small dataset and run the whole workflow on it."""
