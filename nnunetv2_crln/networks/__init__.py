"""Backbones of the paper, which nnU-Net's plans select by ``network_class_name``. They import torch alone."""
