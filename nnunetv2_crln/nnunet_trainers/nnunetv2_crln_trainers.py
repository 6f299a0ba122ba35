"""Every trainer of this package. The module's name is unique because nnU-Net imports it as a top-level module."""

from nnunetv2_crln.training.variants import *  # noqa: F403
from nnunetv2_crln.training.variants import nnUNetTrainer_article as nnUNetTrainer_article
from nnunetv2_crln.training.variants import nnUNetTrainer_demo as nnUNetTrainer_demo
