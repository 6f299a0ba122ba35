"""Convert datasets, one script each, named as in nnU-Net: ``python -m nnunetv2_crln.dataset_conversion.<script>``."""
