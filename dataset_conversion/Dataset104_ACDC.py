"""Converts ACDC; --help says how. Same as python -m nnunetv2_crln.dataset_conversion.<this name>."""

from nnunetv2_crln.dataset_conversion.Dataset104_ACDC import main

if __name__ == "__main__":
    main()
