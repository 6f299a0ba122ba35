"""Define all trainers of this package by the names that ``nnUNetv2_train -tr`` accepts."""

from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.training.nnUNetTrainer.variants.data_augmentation.nnUNetTrainerNoMirroring import nnUNetTrainerNoMirroring

from nnunetv2_crln.training.baseline import SupervisedBaseline
from nnunetv2_crln.training.hooks.progress_line import ProgressLine
from nnunetv2_crln.training.schedules import ArticleProtocol, ShortSchedule
from nnunetv2_crln.training.trainer import nnUNetTrainer_CRLN


class nnUNetTrainer_CRLN_noCPS(nnUNetTrainer_CRLN):
    """CRLN without Cooperative Positive Supervision (CPS)."""

    fixed_settings = {"cps": False}


class nnUNetTrainer_MeanTeacher(nnUNetTrainer_CRLN):
    """Mean teacher: CutMix and confidence-masked consistency only, without prototypes, rectification and CPS."""

    fixed_settings = {"dim": False, "cps": False}


class nnUNetTrainer_CRLN_NoMirroring(nnUNetTrainer_CRLN, nnUNetTrainerNoMirroring):
    """CRLN without mirroring and flips, for labels that tell left from right."""


class nnUNetTrainer_CRLN_1epoch(nnUNetTrainer_CRLN):
    """CRLN trained for 1 epoch."""

    training_attributes = {"num_epochs": 1}


class nnUNetTrainer_CRLN_5epochs(nnUNetTrainer_CRLN):
    """CRLN trained for 5 epochs."""

    training_attributes = {"num_epochs": 5}


class nnUNetTrainer_CRLN_10epochs(nnUNetTrainer_CRLN):
    """CRLN trained for 10 epochs."""

    training_attributes = {"num_epochs": 10}


class nnUNetTrainer_CRLN_20epochs(nnUNetTrainer_CRLN):
    """CRLN trained for 20 epochs."""

    training_attributes = {"num_epochs": 20}


class nnUNetTrainer_CRLN_50epochs(nnUNetTrainer_CRLN):
    """CRLN trained for 50 epochs."""

    training_attributes = {"num_epochs": 50}


class nnUNetTrainer_CRLN_100epochs(nnUNetTrainer_CRLN):
    """CRLN trained for 100 epochs."""

    training_attributes = {"num_epochs": 100}


class nnUNetTrainer_CRLN_250epochs(nnUNetTrainer_CRLN):
    """CRLN trained for 250 epochs."""

    training_attributes = {"num_epochs": 250}


class nnUNetTrainer_CRLN_500epochs(nnUNetTrainer_CRLN):
    """CRLN trained for 500 epochs."""

    training_attributes = {"num_epochs": 500}


class nnUNetTrainer_CRLN_2000epochs(nnUNetTrainer_CRLN):
    """CRLN trained for 2000 epochs."""

    training_attributes = {"num_epochs": 2000}


class nnUNetTrainer_CRLN_short(ShortSchedule, nnUNetTrainer_CRLN):
    """CRLN with the short schedule."""


class nnUNetTrainer_CRLN_noCPS_short(ShortSchedule, nnUNetTrainer_CRLN_noCPS):
    """CRLN without CPS, with the short schedule."""


class nnUNetTrainer_MeanTeacher_short(ShortSchedule, nnUNetTrainer_MeanTeacher):
    """Mean teacher with the short schedule."""


class nnUNetTrainer_short(ShortSchedule, SupervisedBaseline, ProgressLine, nnUNetTrainer):
    """Supervised baseline on the labelled cases alone, with the short schedule."""


class nnUNetTrainer_CRLN_article(ArticleProtocol, nnUNetTrainer_CRLN):
    """CRLN trained as in the paper; the settings are those of the configuration ``3d_article``."""


class nnUNetTrainer_CRLN_noCPS_article(ArticleProtocol, nnUNetTrainer_CRLN_noCPS):
    """CRLN without CPS, trained as in the paper."""


class nnUNetTrainer_MeanTeacher_article(ArticleProtocol, nnUNetTrainer_MeanTeacher):
    """Mean teacher, trained as in the paper."""


class nnUNetTrainer_article(ArticleProtocol, SupervisedBaseline, ProgressLine, nnUNetTrainer):
    """Supervised baseline on the labelled cases alone, trained as in the paper."""


# Former names, kept for one release. They are subclasses, because nnU-Net names folders by the class.
class nnUNetTrainer_CRLN_demo(nnUNetTrainer_CRLN_short):
    """Former name of ``nnUNetTrainer_CRLN_short``."""


class nnUNetTrainer_CRLN_noCPS_demo(nnUNetTrainer_CRLN_noCPS_short):
    """Former name of ``nnUNetTrainer_CRLN_noCPS_short``."""


class nnUNetTrainer_MeanTeacher_demo(nnUNetTrainer_MeanTeacher_short):
    """Former name of ``nnUNetTrainer_MeanTeacher_short``."""


class nnUNetTrainer_demo(nnUNetTrainer_short):
    """Former name of ``nnUNetTrainer_short``."""


__all__ = [name for name in dir() if name.startswith("nnUNetTrainer_")]
