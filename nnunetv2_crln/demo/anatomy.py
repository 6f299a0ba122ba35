"""Draw hearts: volumes that resemble cardiac MRI closely enough to need a network, with few enough voxels for a CPU.

They are difficult for the same reasons as real ones. Both ventricles and the unlabelled aorta contain the same blood
and the heart's muscle looks like the liver below it, so intensity is not enough without shape. Contrast, the coil's
bias field, noise and the heart's form, pose and wall vary between cases, and a few labelled cases do not show that
range.
"""

import numpy as np
from scipy.ndimage import gaussian_filter

LABELS = {"background": 0, "left ventricle": 1, "myocardium": 2, "right ventricle": 3}

_LEFT, _WALL, _RIGHT = LABELS["left ventricle"], LABELS["myocardium"], LABELS["right ventricle"]
_BODY, _LUNG, _LIVER, _AORTA, _PAPILLARY = range(4, 9)  # tissues drawn, but not labelled

# Material of the tissues, with mean and spread over cases of its intensity, and how far tissues of one material differ
# within a case. Blood is the same everywhere: only its place distinguishes the aorta from the ventricles.
_MATERIALS = {
    "air": (0.04, 0.02, {0: 0.0}),
    "lung": (0.12, 0.04, {_LUNG: 0.0}),
    "blood": (0.80, 0.09, {_LEFT: 0.04, _RIGHT: 0.04, _AORTA: 0.04}),
    "muscle": (0.45, 0.06, {_WALL: 0.03, _PAPILLARY: 0.03, _LIVER: 0.06}),
    "chest wall": (0.58, 0.14, {_BODY: 0.0}),
}


def draw_case(rng: np.random.Generator, shape: tuple[int, int, int] = (32, 40, 40)) -> tuple[np.ndarray, np.ndarray]:
    """Draw one patient.

    Args:
        rng: Source of all randomness; the same state draws the same patient.
        shape: Size in voxels, (Z, Y, X).

    Returns:
        Image (Z, Y, X), int16, in a scanner's arbitrary units; labels (Z, Y, X), uint8, see ``LABELS``.
    """
    tissue = _draw_tissue(rng, shape)
    image = _scan(rng, tissue)
    labels = np.where(tissue == _PAPILLARY, _LEFT, tissue)
    labels[labels >= _BODY] = 0
    return image, labels.astype(np.uint8)


def _draw_tissue(rng: np.random.Generator, shape: tuple[int, int, int]) -> np.ndarray:
    """Draw the tissue of each voxel, (Z, Y, X), before the scanner."""
    grid = _bent_grid(rng, shape, 1.4)
    tissue = np.full(shape, 0)
    _draw_chest(rng, tissue, grid)
    z, y, x = _heart_frame(rng, grid)
    spread = 0.16

    radius, length = 6.2 * np.exp(rng.normal(0, spread)), 9.5 * np.exp(rng.normal(0, 0.7 * spread))
    thickness = 2.6 * np.exp(rng.normal(0, 1.6 * spread))
    # The wall is thicker on one side, as in a diseased heart, and thinner towards the apex.
    uneven = 1 + rng.uniform(0, 0.35) * np.cos(np.arctan2(y, x) - rng.uniform(0, 2 * np.pi))
    cavity = _ellipsoid(z, y, x, length, radius, radius * rng.uniform(0.85, 1.1))
    wall = _ellipsoid(z, y, x, length + 0.8 * thickness, radius + thickness * uneven, radius + thickness * uneven)
    below_base = z < 0.35 * length

    side = radius + 0.55 * thickness
    width, height = radius * rng.uniform(0.75, 1.15), radius * rng.uniform(1.1, 1.5)
    right = _ellipsoid(z - 0.15 * length, y - rng.normal(0, 1), x + side, 0.85 * length, height, width)

    tissue[_ellipsoid(z - length, y - 2, x - 1, 0.55 * length, 0.62 * radius, 0.62 * radius) < 1] = _AORTA
    tissue[(right < 1) & (z < 0.5 * length)] = _RIGHT
    tissue[(wall < 1) & below_base] = _WALL
    tissue[(cavity < 1) & below_base] = _LEFT
    for angle in rng.uniform(0, 2 * np.pi, 2):  # muscles inside the cavity, which readers count as cavity
        muscle = np.hypot(y - 0.62 * radius * np.sin(angle), x - 0.62 * radius * np.cos(angle)) < 0.22 * radius
        tissue[muscle & (tissue == _LEFT) & (np.abs(z + 0.2 * length) < 0.4 * length)] = _PAPILLARY
    return tissue


def _draw_chest(rng: np.random.Generator, tissue: np.ndarray, grid: np.ndarray) -> None:
    """Draw chest wall, lungs, liver and the descending aorta."""
    z, y, x = grid
    size = np.array(tissue.shape)
    tissue[(y / (0.47 * size[1])) ** 2 + (x / (0.49 * size[2])) ** 2 < 1] = _BODY
    for side in (-1, 1):
        lung = _ellipsoid(z - 4, y - 1, x - side * 0.33 * size[2], 16, 0.30 * size[1], 0.17 * size[2])
        tissue[lung < rng.uniform(0.7, 1.1)] = _LUNG
    dome = -0.26 * size[0] + rng.normal(0, 1.5) + 0.012 * (y**2 + x**2)
    tissue[(z < dome) & (tissue != 0)] = _LIVER
    vessel = np.hypot(y - 0.33 * size[1] + rng.normal(0, 1), x - rng.normal(4, 1.5))
    tissue[(vessel < rng.uniform(1.8, 3.0)) & (tissue != 0)] = _AORTA


def _bent_grid(rng: np.random.Generator, shape: tuple[int, int, int], amplitude: float) -> np.ndarray:
    """Compute centred voxel coordinates, (3, Z, Y, X), bent by a smooth random field of about ``amplitude`` voxels."""
    axes = [np.arange(size) - (size - 1) / 2 for size in shape]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"))
    return grid + amplitude * np.stack([_smooth_field(rng, shape, 5) for _ in range(3)])


def _heart_frame(rng: np.random.Generator, grid: np.ndarray) -> np.ndarray:
    """Compute coordinates (3, Z, Y, X) along (first) and across the heart's long axis, for a random pose and size."""
    angles = np.deg2rad(rng.normal([20, -15, 0], [9, 9, 18]))
    rotation = np.eye(3)
    for (first, second), angle in zip([(0, 1), (0, 2), (1, 2)], angles):
        turn = np.eye(3)
        turn[[first, second], [first, second]] = np.cos(angle)
        turn[first, second], turn[second, first] = -np.sin(angle), np.sin(angle)
        rotation = rotation @ turn
    centre = rng.normal([1, -1, 1], [1.2, 1.6, 1.6])
    size = np.exp(rng.normal(0, 0.08))
    return np.einsum("ij,jzyx->izyx", rotation, grid - centre[:, None, None, None]) / size


def _ellipsoid(z: np.ndarray, y: np.ndarray, x: np.ndarray, *radii: float | np.ndarray) -> np.ndarray:
    """Compute a function that is below 1 inside an ellipsoid."""
    return np.add.reduce([(axis / radius) ** 2 for axis, radius in zip((z, y, x), radii)])


def _scan(rng: np.random.Generator, tissue: np.ndarray) -> np.ndarray:
    """Simulate the scanner: contrast, texture, blur, bias field, noise, arbitrary units."""
    image = np.zeros(tissue.shape)
    for mean, spread, tissues in _MATERIALS.values():
        material = mean + rng.normal(0, spread)
        for kind, difference in tissues.items():
            image[tissue == kind] = max(material + rng.normal(0, difference), 0.01)
    image *= 1 + 0.08 * _smooth_field(rng, tissue.shape, 1.2)
    image = gaussian_filter(image, rng.uniform(0.5, 0.8))
    image *= np.exp(0.22 * _smooth_field(rng, tissue.shape, 10))
    image = image ** np.exp(rng.normal(0, 0.15))
    sigma = rng.uniform(0.04, 0.09)
    image = np.hypot(image + rng.normal(0, sigma, image.shape), rng.normal(0, sigma, image.shape))  # Rician
    return np.round(image * rng.uniform(400, 1200)).astype(np.int16)


def _smooth_field(rng: np.random.Generator, shape: tuple[int, ...], sigma: float) -> np.ndarray:
    """Draw a Gaussian random field of unit variance that is correlated over ``sigma`` voxels."""
    field = gaussian_filter(rng.normal(size=shape), sigma, mode="wrap")
    return (field - field.mean()) / field.std()
