"""Draw figures and pages from the result files of a training."""
