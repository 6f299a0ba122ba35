"""Load labelled and unlabelled patches in nnU-Net's worker processes."""
