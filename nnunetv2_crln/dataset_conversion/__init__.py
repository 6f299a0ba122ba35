"""One script per dataset, named as nnU-Net names its own: ``python -m nnunetv2_crln.dataset_conversion.<script>``."""
