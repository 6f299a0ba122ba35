"""The article's backbones, as networks that nnU-Net's plans name in ``network_class_name``. They import torch alone."""
