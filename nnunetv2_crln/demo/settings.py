"""Settings of the demo, of full length and short; they import nothing slow, because the command's help needs them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class DemoSettings:
    """Settings that determine the results of the demo."""

    labelled: int = 4
    unlabelled: int = 24
    held_out: int = 10
    seed: int = 0
    epochs: int = 14
    device: str = "cpu"
    methods: tuple[str, ...] = ("supervised", "crln")


FAST = DemoSettings(labelled=3, unlabelled=6, held_out=3, epochs=1)
"""Settings of a look at the workflow; too short to compare methods."""
