"""Converts BraTS 2019; --help says how. Same as python -m nnunetv2_crln.dataset_conversion.<this name>."""

from nnunetv2_crln.dataset_conversion.Dataset103_BraTS2019 import main

if __name__ == "__main__":
    main()
