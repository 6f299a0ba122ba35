"""Read how far a training is from the lines that it prints."""

import re

# Texts of training/hooks/progress_line.py and of nnU-Net.
_ESTIMATE = re.compile(r"About (.+ for \d+ epochs, until [^(]+?) \(")
_OUR_EPOCH = re.compile(r"Epoch (\d+ of \d+): .*pseudo Dice ([\d.]+)(?:.*, ([^,]+ left),)?")
_NNUNET_EPOCH = re.compile(r"Epoch (\d+)\s*$")


def progress_of(line: str, epochs: int) -> str:
    """Read how far a training is from a line that it prints.

    Args:
        line: A line of the output, of this package's trainers or of nnU-Net's own.
        epochs: Epochs of the training, which nnU-Net's line does not tell.

    Returns:
        Epoch, Dice and time left as far as the line tells them; empty for any other line.
    """
    if match := _OUR_EPOCH.search(line):
        left = f", {match[3]}" if match[3] else ""
        return f"epoch {match[1]}, pseudo Dice {match[2]}{left}"
    if match := _ESTIMATE.search(line):
        return f"about {match[1]}"
    if epochs and (match := _NNUNET_EPOCH.search(line)):
        return f"epoch {int(match[1]) + 1} of {epochs}"
    return ""
