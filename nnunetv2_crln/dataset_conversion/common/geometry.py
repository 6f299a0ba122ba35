"""Compare the voxel grids of images."""

from dataclasses import dataclass
from itertools import product

import numpy as np
import SimpleITK as sitk

# Headers store single-precision numbers: differences below a thousandth of a voxel are rounding errors.
ROUNDING = 1e-3


@dataclass(frozen=True)
class Grid:
    """Voxel grid of an image, without the voxels. Axes (X, Y, Z), lengths in mm."""

    size: tuple[int, ...]
    spacing: tuple[float, ...]
    origin: tuple[float, ...]
    direction: tuple[float, ...]

    @classmethod
    def of(cls, header: sitk.Image | sitk.ImageFileReader) -> "Grid":
        """Return the grid of an image, or of a reader that has read the header."""
        return cls(header.GetSize(), header.GetSpacing(), header.GetOrigin(), header.GetDirection())

    def position(self, index: tuple[int, ...]) -> np.ndarray:
        """Return the centre of a voxel in mm."""
        axes = np.reshape(self.direction, (len(self.size), -1))
        return np.asarray(self.origin) + axes @ np.multiply(index, self.spacing)

    def __str__(self) -> str:
        def rounded(values: tuple[float, ...]) -> list[float]:
            return [round(value, 4) + 0.0 for value in values]

        return (
            f"size {list(self.size)}, spacing {rounded(self.spacing)}, origin {rounded(self.origin)}, "
            f"direction {rounded(self.direction)}"
        )


def corner_distance(first: Grid, second: Grid) -> float:
    """Compute the largest distance between equal corners of two grids, in voxels of the first one's finest spacing.

    A shift, a rotation, a flip and a different spacing all move at least one corner, so that one number covers the
    whole header.

    Args:
        first: Grid that defines the unit.
        second: Grid to compare with it.

    Returns:
        Distance in voxels; infinity if the sizes differ.
    """
    if first.size != second.size:
        return float("inf")
    corners = product(*((0, size - 1) for size in first.size))
    distances = [np.linalg.norm(first.position(corner) - second.position(corner)) for corner in corners]
    return float(max(distances) / min(first.spacing))


def same_spacing(first: Grid, second: Grid) -> bool:
    """Check whether size and spacing of two grids agree up to rounding; origin and direction may differ.

    Args:
        first: One grid.
        second: The other grid.

    Returns:
        True if both agree.
    """
    return first.size == second.size and np.allclose(first.spacing, second.spacing, rtol=ROUNDING)
