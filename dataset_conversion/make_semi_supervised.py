"""Hides most labels of a labelled nnU-Net dataset. Same as nnUNetv2_crln_hide_labels."""

from nnunetv2_crln.cli.hide_labels import main

if __name__ == "__main__":
    main()
