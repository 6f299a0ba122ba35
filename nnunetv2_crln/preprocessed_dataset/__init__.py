"""Read what nnUNet_preprocessed holds of a dataset: plans, folds, and cases with their state."""
