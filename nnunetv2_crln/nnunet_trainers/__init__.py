"""The folder that ``nnUNet_extTrainer`` points nnU-Net at: re-exports, nothing else.

nnU-Net imports each module here until one has the wanted class, then drops these modules from ``sys.modules`` again; a
class defined here could not be pickled under spawn. The classes live in :mod:`nnunetv2_crln.training.variants`.
"""
