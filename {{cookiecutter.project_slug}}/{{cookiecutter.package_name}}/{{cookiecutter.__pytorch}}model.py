"""The networks, and how they are trained.

A network takes the preprocessed inputs by their names and returns (n, outputs): as many outputs as
there are classes, or one for a value.
"""

import logging
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import lightning as L
import numpy as np
import torch
from annotated_types import Ge, Interval
from hydra.utils import instantiate
from torch import Tensor, nn
from torch.nn import functional

from workflow.errors import CommandError
from workflow.lightning.networks import Kept, make_network, output_size
from workflow.lightning.schedule import with_schedule
from workflow.shards import Rows

from .preprocess import Preprocess, Standardize

if TYPE_CHECKING:
    import onnx


class MLP(nn.Module):
    """Fully connected layers on all inputs together: images flattened, texts by a convolution."""

    def __init__(
        self,
        inputs: dict[str, Any],
        target: dict[str, Any],
        hidden: Sequence[Annotated[int, Ge(1)]],
        dropout: Annotated[float, Interval(ge=0, lt=1)],
    ) -> None:
        super().__init__()
        self.names = list(inputs)
        texts = [declared["kind"] == "text" for declared in inputs.values()]
        self.encoders = nn.ModuleList(TextEncoder() if text else nn.Flatten() for text in texts)
        widths = [sum(map(_width, inputs.values())), *hidden]
        layers: list[nn.Module] = []
        for width, following in pairwise(widths):
            layers += [nn.Linear(width, following), nn.ReLU(), nn.Dropout(dropout)]
        layers.append(nn.Linear(widths[-1], output_size(target)))
        self.layers = nn.Sequential(*layers)

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        pairs = zip(self.names, self.encoders, strict=True)
        encoded = [encoder(inputs[name]) for name, encoder in pairs]
        return self.layers(torch.cat(encoded, dim=1) if len(encoded) > 1 else encoded[0])


class TextEncoder(nn.Module):
    """Bytes (n, length) to (n, width): the strongest answer of each filter anywhere in the text.

    A convolution over characters (Zhang, Zhao and LeCun, 2015) with a maximum over time.
    """

    width = 64

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(256, 16)
        self.convolution = nn.Conv1d(16, self.width, kernel_size=5, padding=2)

    def forward(self, texts: Tensor) -> Tensor:
        return self.convolution(self.embedding(texts).transpose(1, 2)).relu().amax(dim=2)


class CNN(nn.Module):
    """Two convolutions and a linear layer on the one input, an image of at least 2 x 2 pixels."""

    def __init__(
        self,
        inputs: dict[str, Any],
        target: dict[str, Any],
        channels: tuple[Annotated[int, Ge(1)], Annotated[int, Ge(1)]],
        dropout: Annotated[float, Interval(ge=0, lt=1)],
    ) -> None:
        super().__init__()
        kinds = [declared["kind"] for declared in inputs.values()]
        if kinds != ["image"]:
            raise ValueError(f"CNN takes one image, data.inputs has {', '.join(kinds)}: model=mlp")
        ((self.name, image),) = inputs.items()
        first, second = channels
        pixels = (image["rows"] // 2) * (image["columns"] // 2)
        if not pixels:
            raise ValueError("CNN takes images of at least 2 x 2 pixels: model=mlp")
        self.layers = nn.Sequential(
            nn.Conv2d(image.get("channels") or 1, first, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.Conv2d(first, second, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(second * pixels, output_size(target)),
        )

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        return self.layers(inputs[self.name])


class Classes(nn.Module):
    """A target of classes: network outputs are logits (n, classes), answers their probabilities."""

    def fit(self, target: Rows) -> None:
        pass

    def loss(self, outputs: Tensor, target: Tensor) -> Tensor:
        return functional.cross_entropy(outputs, target)

    def answer(self, outputs: Tensor) -> Tensor:
        return outputs.float().softmax(dim=1)

    def metrics(self, outputs: Tensor, target: Tensor) -> dict[str, Tensor]:
        accuracy = (outputs.argmax(dim=1) == target).float().mean()
        return {"loss": self.loss(outputs, target), "accuracy": accuracy}


class Value(nn.Module):
    """A target of values: outputs (n, 1) are standardized, answers (n,) in the target's unit."""

    def __init__(self) -> None:
        super().__init__()
        self.standardize = Standardize()

    def fit(self, target: Rows) -> None:
        self.standardize.fit(target)

    def loss(self, outputs: Tensor, target: Tensor) -> Tensor:
        return functional.mse_loss(outputs[:, 0], self.standardize(target))

    def answer(self, outputs: Tensor) -> Tensor:
        return self.standardize.invert(outputs[:, 0])

    def metrics(self, outputs: Tensor, target: Tensor) -> dict[str, Tensor]:
        error = (self.answer(outputs) - target).abs().mean()
        return {"loss": self.loss(outputs, target), "mae": error}


class Model(L.LightningModule):
    """Preprocesses the inputs and trains a network for the target that the config's `data` has."""

    def __init__(self, config: dict[str, Any]) -> None:
        """`config` is the composed config as plain types, kept in the checkpoint.

        Raises:
            ConfigError: the network does not take the inputs of the data.
        """
        super().__init__()
        self.save_hyperparameters()
        self.config = config
        data = config["data"]
        self.preprocess = Preprocess(data["inputs"])
        self.target = Classes() if data["target"]["kind"] == "classes" else Value()
        self.network = make_network(config["model"])
        self.train_losses: list[Tensor] = Kept()  # of this epoch; a checkpoint within it has them
        self._outputs, self._targets = Kept(), Kept()  # of the validation

    def fit_preprocessing(self, inputs: Mapping[str, Rows], target: Rows) -> None:
        """Take means and standard deviations from the training split, (n, …) each."""
        self.preprocess.fit(inputs)
        self.target.fit(target)

    @classmethod
    def load(cls, path: Path) -> tuple["Model", dict[str, Any], dict[str, Any]]:
        """Return the model that `train` wrote, its config and its provenance."""
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        config = checkpoint["hyper_parameters"]["config"]
        model = cls(config)
        model.load_state_dict(checkpoint["state_dict"])
        return model.eval(), config, checkpoint["provenance"]

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """Return what the exported model answers: probabilities (n, classes), or values (n,)."""
        return self.target.answer(self.network(self.preprocess(inputs)))

    def answer(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the same as an array, of inputs (n, …) by name."""
        with torch.inference_mode():
            return self({name: torch.from_numpy(array) for name, array in inputs.items()}).numpy()

    def export_onnx(
        self, signature: Mapping[str, Any], inputs: Mapping[str, np.ndarray]
    ) -> "onnx.ModelProto":
        """Return the model as ONNX, with preprocessing inside; `inputs` are two samples.

        Raises:
            CommandError: ONNX lacks a part of the network.
        """
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it asks for torchvision
        names, batch = [*inputs], torch.export.Dim.DYNAMIC
        try:
            program = torch.onnx.export(
                self,
                kwargs={"inputs": {name: torch.from_numpy(inputs[name]) for name in names}},
                input_names=names,
                output_names=[output["name"] for output in signature["outputs"]],
                dynamic_shapes={"inputs": {name: {0: batch} for name in names}},
                dynamo=True,
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            reason = str(error.__cause__ or error).splitlines()[0]
            network = type(self.network).__name__
            raise CommandError(f"{network} cannot be written as ONNX: {reason}") from error
        assert program is not None
        return program.model_proto

    def configure_optimizers(self) -> Any:
        optimizer = instantiate(self.config["optimizer"], _partial_=True)(self.parameters())
        return with_schedule(optimizer, self.config)

    # Metrics are logged once an epoch: `self.log` in every step costs a sixth of the throughput.

    def training_step(self, batch: tuple[dict[str, Tensor], Tensor], _: int) -> Tensor:
        inputs, target = batch
        loss = self.target.loss(self.network(self.preprocess(inputs)), target)
        self.train_losses.append(loss.detach().reshape(1))
        return loss

    def validation_step(self, batch: tuple[dict[str, Tensor], Tensor], _: int) -> Tensor:
        """Return the answers to a batch: callbacks draw them."""
        inputs, target = batch
        # A copy: CUDA graphs (trainer.compile) write the next outputs to the same memory.
        outputs = self.network(self.preprocess(inputs)).clone()
        self._outputs.append(outputs)
        self._targets.append(target)
        return self.target.answer(outputs)

    def on_validation_epoch_end(self) -> None:
        outputs, target = torch.cat(self._outputs), torch.cat(self._targets)
        self._outputs.clear()
        self._targets.clear()
        if self.train_losses:
            self.log("train/loss", torch.cat(self.train_losses).mean(), sync_dist=True)
            self.train_losses.clear()
        for name, value in self.target.metrics(outputs, target).items():
            self.log(f"val/{name}", value, sync_dist=True)


def _width(declared: Mapping[str, Any]) -> int:
    """Return how many numbers an input is, encoded for the MLP."""
    if declared["kind"] == "image":
        return declared["rows"] * declared["columns"] * (declared.get("channels") or 1)
    if declared["kind"] == "features":
        return sum(len(column.get("choices") or (1,)) for column in declared["columns"])
    return TextEncoder.width
