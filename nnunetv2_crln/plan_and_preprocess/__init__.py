"""Plan and preprocess a dataset with its unlabelled images."""
