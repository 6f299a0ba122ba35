"""Diagnose an installation or a dataset and suggest a fix for each problem.

No check may fail because the thing it examines is broken: every check turns errors into findings.
"""
