"""Make a semi-supervised dataset out of a labelled one by hiding labels."""
