"""Random changes to a batch of preprocessed images, on whatever device the batch lies."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from training.configuration import AugmentationConfiguration, Range

_HED = torch.tensor([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])
"""Optical density of haematoxylin, eosin and DAB in red, green and blue (Ruifrok and Johnston 2001)."""


class Augmentation:
    """Draws for every image of a batch (B, C, H, W) its own changes.

    Each image keeps its own mean and standard deviation where it is standardised, so that what comes out lies
    in the range that the preprocessing gives.
    """

    def __init__(self, configuration: AugmentationConfiguration, seed: int) -> None:
        self._configuration = configuration
        self._random = torch.Generator().manual_seed(seed)

    def __call__(self, images: Tensor) -> Tensor:
        """Return changed copies of the images."""
        mean, deviation = _statistics(images)
        low = images.amin(dim=(1, 2, 3), keepdim=True)
        span = (images.amax(dim=(1, 2, 3), keepdim=True) - low).clamp_min(1e-6)
        grey = self._contrast(self._geometry(self._turn(self._stain((images - low) / span))))
        grey = self._erase(self._noise(self._sharpness(grey)))
        new_mean, new_deviation = _statistics(grey)
        return (grey - new_mean) / new_deviation.clamp_min(1e-6) * deviation + mean

    def state(self) -> Tensor:
        """What the next changes depend on."""
        return self._random.get_state()

    def restore(self, state: Tensor) -> None:
        """Change from here on as after ``state`` was taken."""
        self._random.set_state(state)

    def _stain(self, colour: Tensor) -> Tensor:
        """Change how strongly each stain has taken (Ruifrok and Johnston 2001): laboratories differ in it."""
        stain = self._configuration.stain
        if stain is None:
            return colour
        factors = self._uniform(3 * colour.shape[0], stain).reshape(-1, 3)
        change = torch.einsum("ij,bj,jk->bik", torch.linalg.inv(_HED), factors, _HED).to(colour)
        density = -colour.clamp_min(1 / 255).log()
        return (-torch.einsum("bchw,bck->bkhw", density, change)).exp().clamp(0, 1)

    def _turn(self, grey: Tensor) -> Tensor:
        if not self._configuration.quarter_turns:
            return grey
        turns = torch.randint(0, 4, (grey.shape[0],), generator=self._random)
        return torch.stack([torch.rot90(image, int(k), (1, 2)) for image, k in zip(grey, turns, strict=True)])

    def _geometry(self, grey: Tensor) -> Tensor:
        c, count = self._configuration, grey.shape[0]
        angle = self._uniform(count, (-c.rotation_degrees, c.rotation_degrees)) * (math.pi / 180)
        zoom, aspect = self._uniform(count, c.zoom), self._uniform(count, c.aspect).sqrt()
        flip_x, flip_y = self._sign(count, c.flip_horizontal), self._sign(count, c.flip_vertical)
        scale_x, scale_y = flip_x / (zoom * aspect), flip_y * aspect / zoom
        shift = self._uniform(2 * count, (-2 * c.translation, 2 * c.translation)).reshape(count, 2)
        theta = torch.stack(
            [
                torch.stack([angle.cos() * scale_x, -angle.sin() * scale_y, shift[:, 0]], dim=1),
                torch.stack([angle.sin() * scale_x, angle.cos() * scale_y, shift[:, 1]], dim=1),
            ],
            dim=1,
        )
        grid = functional.affine_grid(theta.to(grey), list(grey.shape), align_corners=False)
        return functional.grid_sample(grey, grid, mode="bilinear", padding_mode="zeros", align_corners=False)

    def _contrast(self, grey: Tensor) -> Tensor:
        c, count = self._configuration, grey.shape[0]
        low, high = self._uniform(count, c.window_low), self._uniform(count, c.window_high)
        narrowed = ((grey - _column(low, grey)) / _column(high - low, grey).clamp_min(1e-3)).clamp(0, 1)
        grey = torch.where(self._chosen(grey, c.window_probability), narrowed, grey)
        log_low, log_high = math.log(c.gamma[0]), math.log(c.gamma[1])
        gamma = self._uniform(count, (log_low, log_high)).exp()
        bent = grey.clamp(1e-4, 1) ** _column(gamma, grey)
        return torch.where(self._chosen(grey, c.gamma_probability), bent, grey)

    def _sharpness(self, grey: Tensor) -> Tensor:
        """Blur some images and sharpen others: detectors and rescaling differ in it."""
        c = self._configuration
        blurred = _gaussian(grey, float(self._uniform(1, c.blur_sigma)))
        sharpened = (2 * grey - blurred).clamp(0, 1)
        grey_or_sharp = torch.where(self._chosen(grey, c.sharpen_probability), sharpened, grey)
        return torch.where(self._chosen(grey, c.blur_probability), blurred, grey_or_sharp)

    def _noise(self, grey: Tensor) -> Tensor:
        c = self._configuration
        strength = _column(self._uniform(grey.shape[0], c.noise), grey)
        noise = torch.randn(grey.shape, generator=self._random).to(grey) * strength
        return torch.where(self._chosen(grey, c.noise_probability), (grey + noise).clamp(0, 1), grey)

    def _erase(self, grey: Tensor) -> Tensor:
        """Grey out a rectangle of up to a third of each side, so that no single spot decides."""
        height, width = grey.shape[-2:]
        rows, columns = torch.arange(height) / height, torch.arange(width) / width
        top, left, tall, wide = self._uniform(4 * grey.shape[0], (0, 1)).reshape(4, -1, 1)
        in_rows = (rows >= top) & (rows < top + 0.1 + tall * 0.25)
        in_columns = (columns >= left) & (columns < left + 0.1 + wide * 0.25)
        inside = (in_rows[:, :, None] & in_columns[:, None, :])[:, None].to(grey.device)
        return torch.where(inside & self._chosen(grey, self._configuration.erase_probability), grey.mean(), grey)

    def _uniform(self, count: int, bounds: Range) -> Tensor:
        return torch.rand(count, generator=self._random) * (bounds[1] - bounds[0]) + bounds[0]

    def _sign(self, count: int, probability: float) -> Tensor:
        return torch.where(torch.rand(count, generator=self._random) < probability, -1.0, 1.0)

    def _chosen(self, grey: Tensor, probability: float) -> Tensor:
        return _column(torch.rand(grey.shape[0], generator=self._random), grey) < probability


def _column(values: Tensor, like: Tensor) -> Tensor:
    return values.to(like).reshape(-1, 1, 1, 1)


def _statistics(images: Tensor) -> tuple[Tensor, Tensor]:
    return images.mean(dim=(1, 2, 3), keepdim=True), images.std(dim=(1, 2, 3), keepdim=True)


def _gaussian(images: Tensor, sigma: float) -> Tensor:
    radius = max(1, math.ceil(2.5 * sigma))
    offsets = torch.arange(-radius, radius + 1, dtype=images.dtype, device=images.device)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    kernel = (kernel / kernel.sum()).expand(images.shape[1], 1, -1)
    padded = functional.pad(images, (radius, radius, radius, radius), mode="replicate")
    rows = functional.conv2d(padded, kernel[..., None, :], groups=images.shape[1])
    return functional.conv2d(rows, kernel[..., :, None], groups=images.shape[1])
