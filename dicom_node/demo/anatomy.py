"""A synthetic chest and abdomen in Hounsfield units, plausible enough to exercise every stage of the node."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.interpolate import PchipInterpolator

from dicom_node.demo.voxels import Array, Point, VoxelGrid

FAT, MUSCLE, BLOOD, LIVER, SPLEEN = -100.0, 50.0, 42.0, 58.0, 50.0
LUNG, BOWEL_GAS, MARROW, CORTEX, DISC = -855.0, -950.0, 120.0, 600.0, 85.0
ENHANCED_BLOOD, ENHANCED_KIDNEY, KIDNEY_MASS, URINE = 190.0, 165.0, 85.0, 8.0
APEX, BASE = 138.0, -150.0
WALL = ((0.0, 20.0), (2.5, FAT), (17.0, MUSCLE))


@dataclass(frozen=True, slots=True)
class Nodule:
    """A round lung lesion: centre in mm, radius in mm."""

    centre: Point = (-72.0, -8.0, 52.0)
    radius: float = 13.0


def chest(grid: VoxelGrid, rng: np.random.Generator, nodule: Nodule | None) -> None:
    """Paint a chest, shoulders to upper abdomen, its carina at the origin's height plus 40 mm."""
    _trunk(grid, *WALL)
    _abdominal_organs(grid)
    lungs = _lungs(grid, rng)
    _vessels_in_lungs(grid, rng, lungs)
    if nodule is not None:
        _spiculated(grid, nodule, rng, lungs)
    _mediastinum(grid)
    _thoracic_skeleton(grid)


def abdomen(grid: VoxelGrid, rng: np.random.Generator, mass_radius: float | None) -> None:
    """Paint an upper abdomen after contrast medium, kidneys at z = 0; ``mass_radius`` (mm) adds one to the left."""
    _trunk(grid, *WALL, (31.0, FAT))
    grid.ellipsoid((-68, -18, 40), (82, 78, 85), 110.0)
    grid.ellipsoid((98, 28, 55), (34, 42, 45), 120.0)
    grid.ellipsoid((48, -52, 62), (46, 30, 34), 30.0)
    grid.ellipsoid((48, -66, 62), (32, 14, 26), BOWEL_GAS)
    grid.ellipsoid((-10, -8, 20), (52, 13, 15), 95.0)
    _bowel(grid, rng)
    for side in (-1.0, 1.0):
        _kidney(grid, side)
        grid.tube([(side * 32, 62, 120), (side * 44, 56, -120)], [10.0, 20.0], 62.0)
    if mass_radius is not None:
        grid.ellipsoid((88, 48, -18), (mass_radius,) * 3, KIDNEY_MASS)
        grid.ellipsoid((90, 48, -18), (mass_radius * 0.4,) * 3, 35.0)
    grid.tube([(8, 34, 150), (6, 36, -150)], [11.0, 9.0], ENHANCED_BLOOD)
    grid.tube([(-18, 36, 150), (-20, 38, -150)], [11.0, 11.0], 140.0)
    _spine(grid)
    for number in range(9, 13):
        _rib_pair(grid, number, top=235.0)


def table(grid: VoxelGrid) -> None:
    """Paint the scanner's table under the patient: a thin shell of carbon fibre round foam."""
    z, y, x = grid.coordinates()
    height = y - (126.0 - (x / 210.0) ** 2 * 34.0)
    inside = np.maximum(np.abs(height - 9.0) - 9.0, np.abs(x) - 178.0) + 0.0 * z
    grid.paint(inside, -930.0)
    grid.paint(np.abs(inside + 1.0) - 1.0, -120.0)


def _body_half_widths(z: Array) -> tuple[Array, Array]:
    """Half width (x) and half depth (y) of the trunk in mm at each height: neck, shoulders, chest, waist."""
    heights = [-400.0, -120.0, 0.0, 80.0, 115.0, 140.0, 158.0, 172.0, 190.0, 400.0]
    widths = [158.0, 160.0, 168.0, 180.0, 178.0, 160.0, 118.0, 78.0, 62.0, 60.0]
    depths = [112.0, 112.0, 112.0, 100.0, 90.0, 78.0, 70.0, 62.0, 58.0, 58.0]
    return (
        PchipInterpolator(heights, widths)(z).astype(np.float32),
        PchipInterpolator(heights, depths)(z).astype(np.float32),
    )


def _trunk(grid: VoxelGrid, *layers: tuple[float, float]) -> None:
    """The trunk as nested superellipses: each layer is its depth under the skin (mm) and its tissue (HU)."""
    z, y, x = grid.coordinates()
    width, depth = _body_half_widths(z)
    for inset, tissue in layers:
        radius = ((np.abs(x) / (width - inset)) ** 2.5 + (np.abs(y) / (depth - inset)) ** 2.5) ** (1 / 2.5)
        grid.paint((radius - 1.0) * (depth - inset), tissue)


def _diaphragm(x: Array, y: Array) -> Array:
    """Height of the diaphragm in mm: a dome in each hemithorax, the right one higher, low at the back."""
    right = 62.0 * np.exp(-(((x + 72.0) / 52.0) ** 2) - ((y + 18.0) / 62.0) ** 2)
    left = 48.0 * np.exp(-(((x - 76.0) / 50.0) ** 2) - ((y + 18.0) / 62.0) ** 2)
    return np.asarray(-150.0 + np.maximum(right, left), np.float32)


def _cage(z: Array) -> Array:
    """How wide the rib cage is at each height, 1 below the carina and 0 at the apex of the lungs."""
    climb = np.clip((z + 40.0) / (APEX + 40.0), 0.0, 1.0)
    return np.asarray(np.sqrt(1.0 - climb**2.2), np.float32)


def _lungs(grid: VoxelGrid, rng: np.random.Generator) -> Array:
    """Air the lungs; returns where they are (0 to 1)."""
    z, y, x = grid.coordinates()
    lungs, taper = np.zeros_like(grid.hounsfield), _cage(z)
    for side in (-1.0, 1.0):
        centre_x = side * (38.0 + 36.0 * taper)
        half_width, half_depth = 8.0 + 52.0 * taper, 10.0 + 70.0 * taper
        # The medial border leans away from the spine and mediastinum, the lateral one follows the ribs.
        across = (x - centre_x - side * 4.0) / half_width
        along = (y - 4.0) / half_depth
        inside = ((np.abs(across) ** 2.3 + np.abs(along) ** 2.3) ** (1 / 2.3) - 1.0) * half_width
        floor = (_diaphragm(x, y) - z) * 0.7
        distance = np.maximum(np.maximum(inside, floor), np.maximum(z - APEX, BASE - z))
        lungs = np.maximum(lungs, grid.coverage(distance))
    # Dependent lung is denser; the parenchyma is mottled.
    mottle = rng.normal(0.0, 22.0, grid.hounsfield.shape).astype(np.float32)
    density = LUNG + 0.35 * (y + 10.0) + mottle
    grid.hounsfield += lungs * (density - grid.hounsfield)
    return lungs


def _vessels_in_lungs(grid: VoxelGrid, rng: np.random.Generator, lungs: Array) -> None:
    """Pulmonary vessels: from each hilum a tree that halves in cross-section at every fork (Murray's law)."""
    for side in (-1.0, 1.0):
        hilum = np.array([side * 34.0, 12.0, 14.0])
        for _ in range(12):
            direction = rng.normal(0.0, 1.0, 3) * (0.4, 0.9, 1.1) + (side * 0.6, 0.0, -0.2)
            _branch(grid, rng, lungs, hilum, direction, radius=4.4, generation=0)


def _branch(
    grid: VoxelGrid,
    rng: np.random.Generator,
    lungs: Array,
    start: npt.NDArray[np.float64],
    direction: npt.NDArray[np.float64],
    radius: float,
    generation: int,
) -> None:
    length = rng.uniform(24.0, 42.0) * 0.86**generation
    end = start + direction / np.linalg.norm(direction) * length
    next_radius = radius * 2 ** (-1 / 3) * 0.9
    path: list[Point] = [(start[0], start[1], start[2]), (end[0], end[1], end[2])]
    grid.tube(path, [radius, next_radius], BLOOD, within=lungs)
    if generation < 4:
        for _ in range(2):
            turned = direction / np.linalg.norm(direction) + rng.normal(0.0, 0.4, 3)
            _branch(grid, rng, lungs, end, turned, next_radius, generation + 1)


def _spiculated(grid: VoxelGrid, nodule: Nodule, rng: np.random.Generator, lungs: Array) -> None:
    grid.ellipsoid(nodule.centre, (nodule.radius, nodule.radius * 0.85, nodule.radius * 0.95), 38.0)
    centre = np.asarray(nodule.centre)
    for _ in range(14):
        direction = rng.normal(0.0, 1.0, 3)
        tip = centre + direction / np.linalg.norm(direction) * nodule.radius * rng.uniform(1.3, 1.9)
        grid.tube([nodule.centre, (tip[0], tip[1], tip[2])], [nodule.radius * 0.35, 0.8], 20.0, within=lungs)


def _mediastinum(grid: VoxelGrid) -> None:
    """Heart, great vessels, trachea and main bronchi."""
    grid.ellipsoid((26, -26, -52), (64, 50, 52), FAT)
    grid.ellipsoid((26, -26, -52), (60, 46, 49), BLOOD)
    grid.ellipsoid((40, -22, -72), (44, 40, 38), BLOOD + 4)
    grid.ellipsoid((-22, -24, -38), (30, 32, 42), BLOOD)
    grid.ellipsoid((0, -10, 70), (30, 44, 72), 10.0)
    arch: list[Point] = [
        (-14, -28, -10),
        (-18, -28, 30),
        (-6, -16, 66),
        (16, 8, 72),
        (26, 34, 52),
        (22, 44, -10),
        (14, 44, -170),
    ]
    grid.tube(arch, [15.0, 14.0, 14.0, 13.0, 12.0, 11.0], BLOOD)
    grid.tube([(-26, -18, 100), (-28, -16, -20)], [9.0, 10.0], BLOOD)
    grid.tube([(14, -30, 0), (16, -20, 34), (2, -4, 30)], [14.0, 13.0, 11.0], BLOOD)
    grid.tube([(-12, -2, 22), (-44, 4, 14)], [11.0, 8.0], BLOOD)
    grid.tube([(16, -2, 30), (44, 10, 22)], [11.0, 8.0], BLOOD)
    grid.tube([(4, 26, 170), (4, 30, -140)], [6.0, 6.0], 30.0)
    grid.tube([(0, 6, 180), (0, 14, 44)], [9.0, 9.0], -990.0)
    grid.tube([(0, 14, 44), (-34, 16, 18), (-50, 18, 4)], [7.5, 6.0, 4.5], -985.0)
    grid.tube([(0, 14, 44), (34, 20, 14), (50, 24, 0)], [7.0, 5.5, 4.5], -985.0)


def _abdominal_organs(grid: VoxelGrid) -> None:
    """What lies under the diaphragm and shows at the bottom of a chest examination."""
    grid.ellipsoid((-60, -14, -160), (92, 80, 80), LIVER)
    grid.ellipsoid((95, 34, -155), (38, 46, 50), SPLEEN)
    grid.ellipsoid((56, -30, -140), (44, 44, 34), 25.0)
    grid.ellipsoid((60, -34, -122), (30, 26, 14), BOWEL_GAS)


def _bowel(grid: VoxelGrid, rng: np.random.Generator) -> None:
    for _ in range(34):
        x, y, z = rng.uniform(-95, 95), rng.uniform(-78, -24), rng.uniform(-140, 5)
        radius = rng.uniform(11, 18)
        grid.ellipsoid((x, y, z), (radius * 1.4, radius, radius), rng.uniform(15, 55))
        if rng.uniform() < 0.4:
            grid.ellipsoid((x, y - radius * 0.4, z), (radius, radius * 0.4, radius * 0.6), BOWEL_GAS)


def _kidney(grid: VoxelGrid, side: float) -> None:
    """A kidney in its fat: enhanced parenchyma around a sinus of fat with a little urine, open to the middle."""
    x, y, z = side * 66.0, 46.0, -4.0 - 6.0 * (side < 0)
    grid.ellipsoid((x, y, z), (42, 38, 72), FAT)
    grid.ellipsoid((x, y, z), (29, 26, 55), ENHANCED_KIDNEY)
    grid.ellipsoid((x - side * 16, y - 4, z), (20, 9, 24), FAT)
    grid.ellipsoid((x - side * 12, y - 2, z), (9, 5, 13), URINE)
    grid.tube([(x - side * 20, y - 4, z + 4), (side * 12, 36, z + 8)], [4.5, 5.0], ENHANCED_BLOOD)


def _thoracic_skeleton(grid: VoxelGrid) -> None:
    _spine(grid)
    for number in range(1, 13):
        _rib_pair(grid, number, top=128.0)
    grid.tube([(0, -88, 78), (0, -96, -20)], [9.0, 8.0], MARROW)
    for side in (-1.0, 1.0):
        collar: list[Point] = [
            (side * 14, -72, 104),
            (side * 60, -66, 116),
            (side * 105, -34, 128),
            (side * 146, -14, 132),
        ]
        grid.tube(collar, [7.0, 5.0, 5.5, 7.0], CORTEX * 0.7)
        blade: list[Point] = [(side * 112, 72, 110), (side * 104, 82, 60), (side * 92, 84, 8)]
        grid.tube(blade, [6.0, 4.0, 4.0], MARROW + 150)
        grid.tube([(side * 140, 44, 122), (side * 104, 82, 86)], [8.0, 4.0], MARROW + 150)
        grid.ellipsoid((side * 152, 10, 112), (20, 20, 22), MARROW + 120)


def _spine(grid: VoxelGrid) -> None:
    """Vertebral bodies with cortical end plates, discs, canal and spinous processes, one every 25 mm."""
    z, y, x = grid.coordinates()
    ring = np.sqrt((x / 17.0) ** 2 + ((y - 58.0) / 14.0) ** 2)
    column = (ring - 1.0) * 14.0 + 0.0 * z
    shell = np.maximum(ring - 1.0, 0.92 - ring) * 14.0
    phase = np.abs((z + 500.0) % 25.0 - 12.5)
    bone = np.where(phase < 9.0, MARROW, np.where(phase < 10.5, CORTEX * 0.8, DISC)).astype(np.float32)
    grid.paint(column, np.broadcast_to(bone, grid.hounsfield.shape))
    grid.paint(np.where(phase < 10.0, shell, np.float32(99.0)), CORTEX * 0.8)
    arch = (np.abs(np.sqrt((x / 14.0) ** 2 + ((y - 79.0) / 12.0) ** 2) - 1.0) - 0.22) * 12.0
    grid.paint(np.where(phase < 9.0, arch, np.float32(99.0)), MARROW + 180)
    for centre in np.arange(-237.5, 240.0, 25.0):
        grid.ellipsoid((0.0, 98.0, float(centre) - 6.0), (3.5, 12.0, 6.0), MARROW + 200)
        for side in (-1.0, 1.0):
            grid.ellipsoid((side * 24.0, 76.0, float(centre)), (12.0, 4.5, 5.0), MARROW + 150)


def _rib_pair(grid: VoxelGrid, number: int, top: float) -> None:
    """One rib on each side: from the spine round the cage, falling towards the front."""
    head, fall = top - 23.5 * (number - 1), 28.0 + 9.0 * min(number, 8)
    front = 2.5 if number <= 7 else 2.5 - 0.27 * (number - 7)
    angles = np.linspace(0.14, front, 28)
    heights = head - fall * (1.0 - np.cos(angles)) / 2.0
    # The cage is narrow at the top; the first ribs follow it where they run furthest to the side.
    taper = _cage(np.minimum(heights, head - 0.4 * fall).astype(np.float32))
    for side in (-1.0, 1.0):
        across = side * (51.0 + 88.0 * taper) * np.sin(angles)
        along = 4.0 + (18.0 + 72.0 * taper) * np.cos(angles)
        path = [(float(x), float(y), float(z)) for x, y, z in zip(across, along, heights, strict=True)]
        grid.tube(path, [5.2, 4.8, 4.4], CORTEX * 0.65)
        if number <= 10:
            x, y, z = path[-1]
            grid.tube([path[-1], (x * 0.4, y - 6.0, z + 12.0)], [5.0, 4.5], 110.0)
