"""How a network's weights are changed: optimizer, learning rate over time, and which of them learn at all."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn

from training.configuration import TrainingConfiguration


def build_optimizer(
    network: nn.Module, c: TrainingConfiguration, transferred: frozenset[str], steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """Return AdamW (Loshchilov and Hutter 2019) and its schedule over ``steps``: a warm-up, then half a cosine.

    Weights decay, biases and normalisation do not; what was ``transferred`` learns slower than what is new.
    """
    factor = c.transfer.learning_rate_factor if c.transfer else 1.0
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        rate = c.learning_rate * (factor if name in transferred else 1.0)
        decay = c.weight_decay if parameter.ndim > 1 else 0.0
        groups.setdefault((rate, decay), []).append(parameter)
    optimizer = torch.optim.AdamW(
        [{"params": members, "lr": rate, "weight_decay": decay} for (rate, decay), members in groups.items()]
    )
    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, warm_up_then_cosine(steps, c.warm_up))


def freeze(network: nn.Module, transferred: frozenset[str], c: TrainingConfiguration, epoch: int) -> None:
    """Let in this epoch (counted from 1) only those parameters learn that the configuration says."""
    if c.transfer is None:
        return
    layers = tuple(f"{layer}." for layer in c.transfer.frozen_layers)
    for name, parameter in network.named_parameters():
        waits = name in transferred and epoch <= c.transfer.frozen_epochs
        parameter.requires_grad_(not (waits or name.startswith(layers)))


def warm_up_then_cosine(steps: int, warm_up: float) -> Callable[[int], float]:
    """Return the factor on the learning rate at each of ``steps``, the first ``warm_up`` of which it rises."""
    rising = max(1, round(steps * warm_up))

    def factor(step: int) -> float:
        if step < rising:
            return (step + 1) / rising
        return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))

    return factor
