"""Foundations that know nothing of datasets and methods: files, processes, locks, seeds."""
