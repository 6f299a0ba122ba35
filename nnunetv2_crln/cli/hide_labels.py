"""``nnUNetv2_crln_hide_labels``: a semi-supervised dataset out of a labelled one."""

from nnunetv2_crln.dataset_conversion.make_semi_supervised import build_parser, main

__all__ = ["build_parser", "main"]

if __name__ == "__main__":
    main()
