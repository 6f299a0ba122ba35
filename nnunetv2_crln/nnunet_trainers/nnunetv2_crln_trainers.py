"""Re-export every trainer of this package. The module's name is unique because nnU-Net imports it at top level."""

from nnunetv2_crln.training.variants import *  # noqa: F403
