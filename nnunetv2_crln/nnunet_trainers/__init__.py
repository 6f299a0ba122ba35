"""Re-export the trainers in the folder that ``nnUNet_extTrainer`` names; nothing else belongs here.

nnU-Net imports each module of this folder until one has the requested class, then removes these modules from
``sys.modules``; a class defined here could not be pickled under spawn. The classes are defined in
:mod:`nnunetv2_crln.training.variants`.
"""
