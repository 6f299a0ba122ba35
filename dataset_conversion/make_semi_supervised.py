"""Hides most labels of a labelled nnU-Net dataset. Same as python -m nnunetv2_crln.dataset_conversion.<this name>."""

from nnunetv2_crln.dataset_conversion.make_semi_supervised import main

if __name__ == "__main__":
    main()
