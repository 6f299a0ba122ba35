"""Find and check the files of a dataset in nnUNet_raw."""
