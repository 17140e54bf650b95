"""Fits a network to labelled images: balanced batches, mixed precision, moving average, early stopping."""

from __future__ import annotations

import copy
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn
from tqdm import tqdm

from training.augmentation import Augmentation
from training.configuration import TrainingConfiguration
from training.labelled_images import LabelledImage

STATISTICS_BATCHES = 32


@dataclass(frozen=True, slots=True, eq=False)
class PreparedImages:
    """Images after the bundle's preprocessing: tensors (N, C, H, W) and their labels (N,) and groups."""

    tensors: Tensor
    labels: Tensor
    groups: tuple[str, ...]

    @classmethod
    def select(cls, prepared: dict[LabelledImage, Tensor], images: Sequence[LabelledImage]) -> PreparedImages:
        """Gather some of the images that have been prepared."""
        return cls(
            torch.stack([prepared[image] for image in images]),
            torch.tensor([image.label for image in images]),
            tuple(image.group for image in images),
        )


@dataclass(frozen=True, slots=True)
class Epoch:
    """How one epoch went; the validation figures are of the moving average, None without validation images."""

    number: int
    training_loss: float
    validation_loss: float | None
    validation_auc: float | None


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """A fitted network (moving average of the weights, on the CPU, evaluation mode) and how it got there."""

    network: nn.Module
    epochs: tuple[Epoch, ...]


def fit(
    network: nn.Module,
    configuration: TrainingConfiguration,
    train: PreparedImages,
    valid: PreparedImages | None,
    device: torch.device,
) -> Fit:
    """Train on ``train``; keep the epoch that does best on ``valid``, or the last one where there is none."""
    c = configuration
    network = _channels_last(network.to(device))
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(c.ema_decay), use_buffers=True)
    steps = max(1, c.samples_per_epoch // c.batch_size)
    optimizer = torch.optim.AdamW(_parameter_groups(network, c.weight_decay), lr=c.learning_rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, _warm_up_then_cosine(c.epochs * steps, c.warm_up))
    augmentation, batches = Augmentation(c.augmentation, c.seed), _BalancedBatches(train, c)
    weights = class_weights(train.labels).to(device) if c.class_weights else None
    epochs: list[Epoch] = []
    best, best_loss, stale = average.module, math.inf, 0
    bar = tqdm(total=c.epochs * steps, unit="step", mininterval=5, file=sys.stderr)
    for number in range(1, c.epochs + 1):
        network.train()
        total = 0.0
        for _ in range(steps):
            indices = next(batches)
            loss = _step(network, train.tensors[indices], train.labels[indices], c, augmentation, batches, weights)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 5.0)
            optimizer.step()
            schedule.step()
            average.update_parameters(network)
            total += float(loss.detach())
            bar.update()
        settled = _settle_statistics(average.module, train, batches, device)
        epoch = _judge(number, total / steps, settled, valid, device)
        epochs.append(epoch)
        bar.set_postfix(loss=f"{epoch.training_loss:.3f}", valid=epoch.validation_loss, auc=epoch.validation_auc)
        stale += 1
        if epoch.validation_loss is None or epoch.validation_loss < best_loss:
            best, stale = settled, 0
            best_loss = math.inf if epoch.validation_loss is None else epoch.validation_loss
        if stale >= c.patience:
            break
    bar.close()
    return Fit(best.cpu().eval(), tuple(epochs))


@torch.no_grad()
def logits_of(network: nn.Module, tensors: Tensor, device: torch.device) -> npt.NDArray[np.float64]:
    """Return the network's logits (N, classes), computed in float32."""
    network = network.to(device).eval()
    parts = [network(part.to(device)).float().cpu() for part in tensors.split(64)]
    return np.asarray(torch.cat(parts).numpy(), dtype=np.float64)


def _step(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    c: TrainingConfiguration,
    augmentation: Augmentation,
    batches: _BalancedBatches,
    weights: Tensor | None,
) -> Tensor:
    device = next(network.parameters()).device
    images = augmentation(images.to(device))
    labels = labels.to(device)
    partner, weight = torch.arange(len(labels), device=device), 1.0
    if c.augmentation.mixup_alpha:
        weight = batches.beta(c.augmentation.mixup_alpha)
        partner = torch.roll(partner, 1)
        images = weight * images + (1 - weight) * images[partner]
    images = images.contiguous(memory_format=torch.channels_last)
    with torch.autocast(device.type, dtype=torch.bfloat16):
        logits = network(images)
    logits = logits.float()
    loss = functional.cross_entropy(logits, labels, weights, label_smoothing=c.label_smoothing)
    mixed = functional.cross_entropy(logits, labels[partner], weights, label_smoothing=c.label_smoothing)
    return weight * loss + (1 - weight) * mixed


def class_weights(labels: Tensor) -> Tensor:
    """Return the inverse frequency of each class, 1 on average over the images."""
    counts = torch.bincount(labels)
    return len(labels) / (len(counts) * counts.clamp_min(1)).float()


class _BalancedBatches:
    """Endless batches of indices in which every class, and within it every group if asked, has equal weight."""

    def __init__(self, images: PreparedImages, configuration: TrainingConfiguration) -> None:
        self._random = np.random.default_rng(configuration.seed)
        self._batch_size = configuration.batch_size
        labels = images.labels.numpy()
        weights = np.ones(len(labels)) if configuration.sampling == "image" else 1.0 / np.bincount(labels)[labels]
        if configuration.sampling == "class and group":
            keys = [f"{label} {group}" for label, group in zip(labels, images.groups, strict=True)]
            _, inverse, counts = np.unique(keys, return_inverse=True, return_counts=True)
            # The square root lies between equal images and equal scans: a scan of one slice must not rule.
            weights = 1.0 / np.sqrt(counts[inverse])
            weights /= np.bincount(labels, weights=weights)[labels]
        self._weights = weights / weights.sum()

    def __iter__(self) -> Iterator[npt.NDArray[np.int64]]:
        return self

    def __next__(self) -> npt.NDArray[np.int64]:
        return self._random.choice(len(self._weights), size=self._batch_size, p=self._weights)

    def beta(self, alpha: float) -> float:
        """Draw the share of the first image in a MixUp pair (Zhang et al. 2018)."""
        return float(self._random.beta(alpha, alpha))


def _channels_last(network: nn.Module) -> nn.Module:
    """Lay the kernels out as bf16 convolutions are fastest on CPUs and tensor cores."""
    for parameter in network.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return network


def _settle_statistics(
    network: nn.Module, train: PreparedImages, batches: _BalancedBatches, device: torch.device
) -> nn.Module:
    """Return a copy whose batch statistics are of training images as they are, not of mixed and perturbed ones."""
    settled = copy.deepcopy(network)
    clean = [train.tensors[next(batches)] for _ in range(STATISTICS_BATCHES)]
    with torch.no_grad():
        update_bn(clean, settled, device=device)
    return settled.eval()


def _parameter_groups(network: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    decayed = [parameter for parameter in network.parameters() if parameter.ndim > 1]
    plain = [parameter for parameter in network.parameters() if parameter.ndim <= 1]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}]


def _warm_up_then_cosine(steps: int, warm_up: float) -> Callable[[int], float]:
    rising = max(1, round(steps * warm_up))

    def factor(step: int) -> float:
        if step < rising:
            return (step + 1) / rising
        return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))

    return factor


def _judge(
    number: int, training_loss: float, network: nn.Module, valid: PreparedImages | None, device: torch.device
) -> Epoch:
    if valid is None:
        return Epoch(number, training_loss, None, None)
    labels = valid.labels.numpy()
    logits = torch.from_numpy(logits_of(network, valid.tensors, device))
    classes = logits.shape[1]
    weight = torch.from_numpy(len(labels) / np.maximum(np.bincount(labels, minlength=classes), 1))
    loss = float(functional.cross_entropy(logits, valid.labels, weight=weight))
    auc = roc_auc_score(labels, logits.softmax(1)[:, 1]) if classes == 2 else _macro_auc(labels, logits.softmax(1))
    return Epoch(number, training_loss, loss, float(auc))


def _macro_auc(labels: npt.NDArray[np.int64], probabilities: Tensor) -> float:
    """Mean over the classes that occur of one versus the rest."""
    present = np.unique(labels)
    return float(np.mean([roc_auc_score(labels == label, probabilities[:, label]) for label in present]))
