"""Fits a network to labelled images: balanced batches, mixed precision, moving average, early stopping."""

from __future__ import annotations

import copy
import json
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn
from tqdm import tqdm

from training.augmentation import Augmentation
from training.batches import BalancedBatches, PreparedImages, class_weights
from training.checkpoint import Checkpoint
from training.configuration import TrainingConfiguration
from training.optimization import build_optimizer, freeze
from training.transfer import transfer

STATISTICS_BATCHES = 32


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
    checkpoint: Checkpoint | None = None,
    after_epoch: Callable[[Sequence[Epoch]], None] = lambda _: None,
) -> Fit:
    """Train on ``train``; keep the epoch that does best on ``valid``, or the last one where there is none.

    With a ``checkpoint``, the state is saved in it after every epoch, and training goes on from what it holds.
    ``after_epoch`` is called with all epochs so far.

    Raises:
        TransferError: the weights to start from are missing, or of another network.
        ResumeError: the checkpoint is of another training.
    """
    training = _Training(network, configuration, train, device)
    if checkpoint is not None and (state := checkpoint.load()) is not None:
        training.restore(state)
    steps = training.steps
    done = len(training.epochs) * steps
    with tqdm(total=configuration.epochs * steps, initial=done, unit="step", mininterval=5, file=sys.stderr) as bar:
        while not training.finished:
            epoch = training.run_epoch(valid, bar)
            bar.set_postfix(loss=f"{epoch.training_loss:.3f}", valid=epoch.validation_loss, auc=epoch.validation_auc)
            if checkpoint is not None:
                checkpoint.save(training.state())
            after_epoch(training.epochs)
    return Fit(training.best.cpu().eval(), tuple(training.epochs))


class _Training:
    """Owns everything that changes while a network is fitted, and can hand it out and take it back."""

    def __init__(
        self, network: nn.Module, c: TrainingConfiguration, train: PreparedImages, device: torch.device
    ) -> None:
        self._transferred = transfer(network, c.transfer) if c.transfer else frozenset[str]()
        self._network = _channels_last(network.to(device))
        self._average = AveragedModel(self._network, multi_avg_fn=get_ema_multi_avg_fn(c.ema_decay), use_buffers=True)
        self.steps = max(1, c.samples_per_epoch // c.batch_size)
        self._optimizer, self._schedule = build_optimizer(self._network, c, self._transferred, c.epochs * self.steps)
        self._augmentation, self._batches = Augmentation(c.augmentation, c.seed), BalancedBatches(train, c)
        self._weights = class_weights(train.labels).to(device) if c.class_weights else None
        self._configuration, self._train, self._device = c, train, device
        self.best: nn.Module = copy.deepcopy(self._average.module)
        self._best_loss, self._stale = math.inf, 0
        self.epochs: list[Epoch] = []

    @property
    def finished(self) -> bool:
        """Whether all epochs have been run, or too many have brought nothing."""
        return len(self.epochs) >= self._configuration.epochs or self._stale >= self._configuration.patience

    def run_epoch(self, valid: PreparedImages | None, bar: tqdm) -> Epoch:
        """Run the next epoch, judge it, and keep it if it is the best."""
        number = len(self.epochs) + 1
        freeze(self._network, self._transferred, self._configuration, number)
        self._network.train()
        total = 0.0
        for _ in range(self.steps):
            loss = self._loss(next(self._batches))
            self._optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(self._network.parameters(), 5.0)
            self._optimizer.step()
            self._schedule.step()
            self._average.update_parameters(self._network)
            total += float(loss.detach())
            bar.update()
        settled = self._settled()
        epoch = _judge(number, total / self.steps, settled, valid, self._device)
        self.epochs.append(epoch)
        self._stale += 1
        if epoch.validation_loss is None or epoch.validation_loss < self._best_loss:
            self.best, self._stale = settled, 0
            self._best_loss = math.inf if epoch.validation_loss is None else epoch.validation_loss
        return epoch

    def state(self) -> dict[str, Any]:
        """Everything that the next epochs depend on, as plain values and tensors."""
        return {
            "network": self._network.state_dict(),
            "average": self._average.state_dict(),
            "best": self.best.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
            "augmentation": self._augmentation.state(),
            "batches": json.dumps(self._batches.state()),
            "dropout": torch.get_rng_state(),
            "dropout_cuda": torch.cuda.get_rng_state(self._device) if self._device.type == "cuda" else None,
            "best_loss": self._best_loss,
            "stale": self._stale,
            "epochs": [asdict(epoch) for epoch in self.epochs],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from where ``state`` was taken."""
        self._network.load_state_dict(state["network"])
        self._average.load_state_dict(state["average"])
        self.best.load_state_dict(state["best"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])
        self._augmentation.restore(state["augmentation"])
        self._batches.restore(json.loads(state["batches"]))
        torch.set_rng_state(state["dropout"])
        if state["dropout_cuda"] is not None:
            torch.cuda.set_rng_state(state["dropout_cuda"], self._device)
        self._best_loss, self._stale = state["best_loss"], state["stale"]
        self.epochs = [Epoch(**epoch) for epoch in state["epochs"]]

    def _loss(self, indices: npt.NDArray[np.int64]) -> Tensor:
        c = self._configuration
        images = self._augmentation(self._train.tensors[indices].to(self._device))
        labels = self._train.labels[indices].to(self._device)
        partner, weight = torch.arange(len(labels), device=self._device), 1.0
        if c.augmentation.mixup_alpha:
            weight = self._batches.beta(c.augmentation.mixup_alpha)
            partner = torch.roll(partner, 1)
            images = weight * images + (1 - weight) * images[partner]
        images = images.contiguous(memory_format=torch.channels_last)
        with torch.autocast(self._device.type, dtype=torch.bfloat16, enabled=c.mixed_precision):
            logits = self._network(images)
        logits = logits.float()
        loss = functional.cross_entropy(logits, labels, self._weights, label_smoothing=c.label_smoothing)
        mixed = functional.cross_entropy(logits, labels[partner], self._weights, label_smoothing=c.label_smoothing)
        return weight * loss + (1 - weight) * mixed

    def _settled(self) -> nn.Module:
        """Return a copy whose batch statistics are of training images as they are, not of mixed and perturbed ones."""
        settled = copy.deepcopy(self._average.module)
        clean = [self._train.tensors[next(self._batches)] for _ in range(STATISTICS_BATCHES)]
        with torch.no_grad():
            update_bn(clean, settled, device=self._device)
        return settled.eval()


@torch.no_grad()
def logits_of(network: nn.Module, tensors: Tensor, device: torch.device) -> npt.NDArray[np.float64]:
    """Return the network's logits (N, classes), computed in float32."""
    network = network.to(device).eval()
    parts = [network(part.to(device)).float().cpu() for part in tensors.split(64)]
    return np.asarray(torch.cat(parts).numpy(), dtype=np.float64)


def _channels_last(network: nn.Module) -> nn.Module:
    """Lay the kernels out as convolutions are fastest on CPUs and tensor cores."""
    for parameter in network.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return network


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
