"""A self-supervised stage on a bundle's own images: no label is read, and what is learnt is a start for `train`."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from monai.losses.contrastive import ContrastiveLoss
from torch import Tensor, nn
from tqdm import tqdm

from dicom_node.inference.definition import BundleDefinition
from training.augmentation import Augmentation
from training.configuration import TrainingConfiguration, load_training_configuration
from training.labelled_images import DataError
from training.optimization import warm_up_then_cosine
from training.preparation import prepare
from training.training_run import split_images
from training.transfer import transfer

PRETRAINED_FILE = "pretrained.pt"
_PROJECTION = 128


def pretrain_bundle(folder: Path, data: Path, run: Path, device: torch.device) -> Path:
    """Teach the bundle's network that two perturbed copies of an image are one (SimCLR, Chen et al. 2020).

    Images that ``train`` validates on are left out, save with folds, where every image is validated on at some
    time. The classifier stays random.

    Returns:
        ``pretrained.pt`` in ``run``: a state dict that ``transfer.checkpoint`` of ``train.json`` takes.

    Raises:
        DataError: there are fewer images than make a batch.
        TransferError: the weights to start from are missing, or of another network.
    """
    definition = BundleDefinition.load(folder)
    configuration = load_training_configuration(folder)
    c = configuration.pretraining
    images, splits = split_images(definition, configuration, data)
    if len(splits) == 1:
        images = splits[0][0]
    if len(images) < c.batch_size:
        raise DataError(f"{data}: {len(images)} images to learn from are fewer than a batch of {c.batch_size}.")
    torch.manual_seed(configuration.seed)
    network = definition.network()
    if c.transfer is not None:
        transfer(network, c.transfer)
    prepared = prepare(images, definition.preprocessing())
    _learn(network.to(device), torch.stack([prepared[image] for image in images]), configuration, device)
    run.mkdir(parents=True, exist_ok=True)
    path = run / PRETRAINED_FILE
    torch.save(network.cpu().state_dict(), path)
    return path


def _learn(network: nn.Module, tensors: Tensor, configuration: TrainingConfiguration, device: torch.device) -> None:
    c = configuration.pretraining
    features = _Features(network)
    projection = nn.Sequential(
        nn.Linear(features.length, features.length), nn.ReLU(), nn.Linear(features.length, _PROJECTION)
    ).to(device)
    augmentation = Augmentation(configuration.augmentation, configuration.seed)
    random = np.random.default_rng(configuration.seed)
    loss_of = ContrastiveLoss(c.temperature)
    steps = len(tensors) // c.batch_size
    parameters = [*network.parameters(), *projection.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=c.learning_rate, weight_decay=configuration.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, warm_up_then_cosine(c.epochs * steps, configuration.warm_up)
    )
    network.train()
    with tqdm(total=c.epochs * steps, unit="step", mininterval=5, file=sys.stderr) as bar:
        for _ in range(c.epochs):
            for batch in np.split(random.permutation(len(tensors))[: steps * c.batch_size], steps):
                images = tensors[batch].to(device)
                pair = torch.cat([augmentation(images), augmentation(images)])
                pair = pair.contiguous(memory_format=torch.channels_last)
                with torch.autocast(device.type, dtype=torch.bfloat16, enabled=configuration.mixed_precision):
                    projected = projection(features(pair))
                loss = loss_of(*projected.float().chunk(2))
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                schedule.step()
                bar.update()
                bar.set_postfix(loss=f"{float(loss.detach()):.3f}")


class _Features:
    """What a network's classifier, its last linear layer, is given."""

    def __init__(self, network: nn.Module) -> None:
        classifier = [module for module in network.modules() if isinstance(module, nn.Linear)][-1]
        self.length = classifier.in_features
        self._network = network
        self._given = torch.empty(0)
        classifier.register_forward_pre_hook(self._keep)

    def _keep(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self._given = inputs[0]

    def __call__(self, images: Tensor) -> Tensor:
        """Return the features (N, length) of images (N, C, H, W)."""
        self._network(images)
        return self._given
