"""Groups of nnU-Net's hooks that nnUNetTrainer_CRLN inherits, one for each task."""
