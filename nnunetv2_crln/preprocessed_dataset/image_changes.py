"""Compare imagesUl with what is preprocessed of it: images that came in, are gone or were replaced since then."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunetv2_crln.errors import UserError, listing
from nnunetv2_crln.layout import IMAGES_UNLABELLED
from nnunetv2_crln.preprocessed_dataset.commands import unlabelled_command
from nnunetv2_crln.preprocessed_dataset.unlabelled_status import UnlabelledStatus, unlabelled_status
from nnunetv2_crln.raw_dataset.cases import find_unlabelled_cases, source_record
from nnunetv2_crln.raw_dataset.folders import DatasetFolders
from nnunetv2_crln.utilities.print_warnings import print_warnings


@dataclass(frozen=True)
class ImageChanges:
    """Texts on what has changed in imagesUl since its cases were preprocessed, with the way out; empty if nothing has.

    Attributes:
        added: Cases that came in.
        gone: Preprocessed cases without images.
        replaced: Preprocessed cases whose image files are others now.
    """

    added: str = ""
    gone: str = ""
    replaced: str = ""

    @property
    def texts(self) -> list[str]:
        """All texts that are not empty."""
        return [text for text in (self.added, self.gone, self.replaced) if text]


def image_changes(
    folders: DatasetFolders, status: UnlabelledStatus, plans_manager: PlansManager, configuration: str
) -> ImageChanges:
    """Compare imagesUl with what is preprocessed of it.

    Args:
        folders: Folders of the dataset.
        status: Result of :func:`unlabelled_status`.
        plans_manager: nnU-Net's plans.
        configuration: Name of a configuration in them.

    Returns:
        What has changed.

    Raises:
        UserError: dataset.json of the raw dataset is missing or damaged.
    """
    images, present = folders.raw / IMAGES_UNLABELLED, find_unlabelled_cases(folders.raw)
    preprocessed = {*status.ready, *status.stale}
    kept = [case for case in status.ready if case in present]
    with ThreadPoolExecutor() as pool:
        records = dict(zip(kept, pool.map(lambda case: source_record(present[case]), kept), strict=True))
    added, gone = sorted(set(present) - preprocessed - set(status.missing)), sorted(preprocessed - set(present))
    # A case without a record of its files was made by another program: nothing is known of its images.
    replaced = [case for case in kept if status.made_from.get(case) and records[case] != status.made_from[case]]
    if not (added or gone or replaced):
        return ImageChanges()
    command = unlabelled_command(folders.preprocessed, plans_manager, configuration)
    texts = {
        "added": f"{images} has {len(added)} case(s) that are not preprocessed for {configuration} and therefore take "
        f"no part: {listing(added)}. To add them: {command}",
        "gone": f"{images} lacks the images of {len(gone)} preprocessed case(s): {listing(gone)}. Bring them back "
        f"(links may lead to a disk that is not mounted), or remove what is preprocessed of them: {command}",
        "replaced": f"{images} has {len(replaced)} case(s) whose files have another size or date than those that were "
        f"preprocessed: {listing(replaced)}. Preprocess the present files: {command}",
    }
    found = {"added": added, "gone": gone, "replaced": replaced}
    return ImageChanges(**{name: texts[name] for name, cases in found.items() if cases})


def changes_since_preprocessing(folders: DatasetFolders, plans_manager: PlansManager, configuration: str) -> list[str]:
    """Describe what has changed in imagesUl since its cases were preprocessed for a configuration.

    Args:
        folders: Folders of the dataset.
        plans_manager: nnU-Net's plans.
        configuration: Name of a configuration in them.

    Returns:
        Texts with the way out; none if unlabelled cases were never preprocessed, which others find.
    """
    try:
        status = unlabelled_status(folders.preprocessed, plans_manager, configuration)
    except UserError:
        return []
    return image_changes(folders, status, plans_manager, configuration).texts


def refuse_changed_images(
    folders: DatasetFolders, status: UnlabelledStatus, plans_manager: PlansManager, configuration: str
) -> None:
    """Check that imagesUl still holds the images of the preprocessed cases, and warn of others that have come in.

    Args:
        folders: Folders of the dataset.
        status: Result of :func:`unlabelled_status`.
        plans_manager: nnU-Net's plans.
        configuration: Name of a configuration in them.

    Raises:
        UserError: Images were moved, removed or replaced, or are links that lead nowhere.
    """
    changes = image_changes(folders, status, plans_manager, configuration)
    if changes.gone or changes.replaced:
        raise UserError(" ".join(text for text in (changes.gone, changes.replaced) if text))
    print_warnings(changes.texts)
