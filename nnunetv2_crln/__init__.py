"""Semi-supervised training with CRLN (Wang et al., Medical Image Analysis 2025) as an nnU-Net plugin.

Importing this package does no work and pulls in neither torch nor nnunetv2.
"""

__version__ = "0.1.0"
