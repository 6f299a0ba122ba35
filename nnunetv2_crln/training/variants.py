"""Every trainer of this package, by the name given to ``nnUNetv2_train -tr``."""

from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunetv2_crln.training.schedules import ArticleProtocol, ShortSchedule
from nnunetv2_crln.training.trainer import nnUNetTrainer_CRLN


class nnUNetTrainer_CRLN_noCPS(nnUNetTrainer_CRLN):
    """Prototypes, DIM and rectification without Cooperative Positive Supervision."""

    fixed_settings = {"cps": False}


class nnUNetTrainer_MeanTeacher(nnUNetTrainer_CRLN):
    """EMA teacher, CutMix and confidence-masked consistency alone: no DIM, no CPS."""

    fixed_settings = {"dim": False, "cps": False}


class nnUNetTrainer_CRLN_1epoch(nnUNetTrainer_CRLN):
    training_attributes = {"num_epochs": 1}


class nnUNetTrainer_CRLN_5epochs(nnUNetTrainer_CRLN):
    training_attributes = {"num_epochs": 5}


class nnUNetTrainer_CRLN_10epochs(nnUNetTrainer_CRLN):
    training_attributes = {"num_epochs": 10}


class nnUNetTrainer_CRLN_20epochs(nnUNetTrainer_CRLN):
    training_attributes = {"num_epochs": 20}


class nnUNetTrainer_CRLN_50epochs(nnUNetTrainer_CRLN):
    training_attributes = {"num_epochs": 50}


class nnUNetTrainer_CRLN_100epochs(nnUNetTrainer_CRLN):
    training_attributes = {"num_epochs": 100}


class nnUNetTrainer_CRLN_250epochs(nnUNetTrainer_CRLN):
    training_attributes = {"num_epochs": 250}


class nnUNetTrainer_CRLN_500epochs(nnUNetTrainer_CRLN):
    training_attributes = {"num_epochs": 500}


class nnUNetTrainer_CRLN_2000epochs(nnUNetTrainer_CRLN):
    training_attributes = {"num_epochs": 2000}


class nnUNetTrainer_CRLN_demo(ShortSchedule, nnUNetTrainer_CRLN):
    """CRLN with the short schedule."""


class nnUNetTrainer_CRLN_noCPS_demo(ShortSchedule, nnUNetTrainer_CRLN_noCPS):
    """CRLN without CPS, short schedule."""


class nnUNetTrainer_MeanTeacher_demo(ShortSchedule, nnUNetTrainer_MeanTeacher):
    """Mean teacher, short schedule."""


class nnUNetTrainer_CRLN_article(ArticleProtocol, nnUNetTrainer_CRLN):
    """CRLN trained as the article trains; its settings are those of the configuration ``3d_article``."""


class nnUNetTrainer_CRLN_noCPS_article(ArticleProtocol, nnUNetTrainer_CRLN_noCPS):
    """CRLN without CPS, trained as the article trains."""


class nnUNetTrainer_MeanTeacher_article(ArticleProtocol, nnUNetTrainer_MeanTeacher):
    """Mean teacher, trained as the article trains."""


__all__ = [name for name in dir() if name.startswith("nnUNetTrainer_")]


class nnUNetTrainer_demo(ShortSchedule, nnUNetTrainer):
    """Supervised-only baseline of the demo and the benchmarks."""


class nnUNetTrainer_article(ArticleProtocol, nnUNetTrainer):
    """Labelled cases alone, trained as the article trains."""
