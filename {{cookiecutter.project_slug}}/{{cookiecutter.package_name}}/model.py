"""The networks, and how they are trained."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Any

import lightning as L
import torch
from annotated_types import Ge, Interval
from hydra.utils import instantiate
from torch import Tensor, nn
from torch.nn import functional

from workflow.lightning.schedule import with_schedule


class MLP(nn.Module):
    """Fully connected layers on the flattened image: (batch, rows, columns) to (batch, classes)."""

    def __init__(
        self,
        image_shape: Sequence[int],
        classes: Sequence[str],
        hidden: Sequence[Annotated[int, Ge(1)]],
        dropout: Annotated[float, Interval(ge=0, lt=1)],
    ) -> None:
        super().__init__()
        widths = [image_shape[0] * image_shape[1], *hidden]
        layers: list[nn.Module] = [nn.Flatten()]
        for width, following in pairwise(widths):
            layers += [nn.Linear(width, following), nn.ReLU(), nn.Dropout(dropout)]
        layers.append(nn.Linear(widths[-1], len(classes)))
        self.layers = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)


class CNN(nn.Module):
    """Two convolutions and a linear layer: (batch, rows, columns) to (batch, classes)."""

    def __init__(
        self,
        image_shape: Sequence[Annotated[int, Ge(2)]],  # it takes the largest of 2 x 2
        classes: Sequence[str],
        channels: tuple[Annotated[int, Ge(1)], Annotated[int, Ge(1)]],
        dropout: Annotated[float, Interval(ge=0, lt=1)],
    ) -> None:
        super().__init__()
        first, second = channels
        pixels = (image_shape[0] // 2) * (image_shape[1] // 2)
        self.layers = nn.Sequential(
            nn.Conv2d(1, first, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.Conv2d(first, second, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(second * pixels, len(classes)),
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images.unsqueeze(1))


class Standardize(nn.Module):
    """Whole numbers in, floats of mean 0 and deviation 1 out.

    A part of the model and not of the data, so that the exported file takes raw images.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("deviation", torch.ones(()))

    def fit(self, images: Tensor) -> None:
        """Take mean and deviation from the training images (n, rows, columns)."""
        values = images.float()
        self.mean.copy_(values.mean())
        self.deviation.copy_(values.std().clamp(min=1e-6))

    def forward(self, images: Tensor) -> Tensor:
        # In float32, which has every pixel, and then in the type of the network's weights.
        values = (images.float() - self.mean.float()) / self.deviation.float()
        return values.to(self.mean.dtype)


class Classifier(L.LightningModule):
    """Trains a network with cross-entropy; batches are images (n, rows, columns), labels (n,)."""

    def __init__(self, config: dict[str, Any]) -> None:
        """`config` is the composed config as plain types, kept in the checkpoint."""
        super().__init__()
        self.save_hyperparameters()
        self.config = config
        self.standardize = Standardize()
        self.network: nn.Module = instantiate(config["model"])
        self._train_loss: list[Tensor] = []
        self._validation: list[tuple[Tensor, Tensor]] = []

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (batch, classes) of raw images (batch, rows, columns)."""
        return self.network(self.standardize(images))

    def configure_optimizers(self) -> Any:
        optimizer = instantiate(self.config["optimizer"], _partial_=True)(self.parameters())
        return with_schedule(optimizer, self.config)

    # Measures are logged once an epoch: `self.log` in every step costs a sixth of the throughput.

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        images, labels = batch
        loss = functional.cross_entropy(self(images), labels)
        self._train_loss.append(loss.detach())
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        images, labels = batch
        logits = self(images)
        self._validation.append((logits, labels))
        return logits

    def on_validation_epoch_end(self) -> None:
        logits = torch.cat([logits for logits, _ in self._validation])
        labels = torch.cat([labels for _, labels in self._validation])
        self._validation.clear()
        if self._train_loss:
            self.log("train/loss", torch.stack(self._train_loss).mean(), sync_dist=True)
            self._train_loss.clear()
        self.log("val/loss", functional.cross_entropy(logits, labels), sync_dist=True)
        accuracy = (logits.argmax(dim=1) == labels).float().mean()
        self.log("val/accuracy", accuracy, sync_dist=True)
