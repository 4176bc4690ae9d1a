"""The model: preprocessing, and the estimator that conf/model/ names."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from sklearn.metrics import accuracy_score, log_loss, mean_absolute_error, mean_squared_error
from sklearn.model_selection import KFold, StratifiedKFold

from workflow.config.values import ConfigError
from workflow.errors import one_line
from workflow.scikit_learn import checkpoint
from workflow.scikit_learn.estimators import make_estimator, staged_answers
from workflow.scikit_learn.onnx_graph import convert

from .preprocess import Preprocess

Inputs = Mapping[str, np.ndarray]  # (n, …) by name
Measure = Callable[[np.ndarray, np.ndarray], float]  # of target and answers


class Model:
    """Preprocesses the inputs and fits an estimator for the target that the config's `data` has."""

    def __init__(self, config: dict[str, Any]) -> None:
        """`config` is the composed config as plain types.

        Raises:
            ConfigError: the estimator cannot be made, or not be exported.
        """
        data = config["data"]
        self.is_value = data["target"]["kind"] == "value"
        self.preprocess = Preprocess(data["inputs"])
        self.estimator = make_estimator(config["model"], data["target"])
        self.std = 1.0  # of the training targets, where they are values

    @classmethod
    def load(cls, path: Path) -> tuple["Model", dict[str, Any], dict[str, Any]]:
        """Return the model that `train` wrote, its config and its provenance."""
        return checkpoint.read(path)

    def fit(self, inputs: Inputs, target: np.ndarray) -> None:
        """Fit on the training split: target (n,) holds class indices, or values.

        Raises:
            ConfigError: the estimator does not take this data, such as too few samples of a class.
        """
        self.preprocess.fit(inputs)
        if self.is_value:
            self.std = float(target.std()) or 1.0
        try:
            self.estimator.fit(self.preprocess.transform(inputs), target)
        except ValueError as error:
            raise ConfigError("model", one_line(error)) from error

    def answer(self, inputs: Inputs) -> np.ndarray:
        """Return what the exported model answers: probabilities (n, classes), or values (n,)."""
        return self._answer(self.preprocess.transform(inputs))

    def stages(self, inputs: Inputs) -> list[np.ndarray]:
        """Return the answers after each iteration of a boosting; of another estimator, its own."""
        matrix = self.preprocess.transform(inputs)
        return [*staged_answers(self.estimator, matrix)] or [self._answer(matrix)]

    @property
    def measures(self) -> dict[str, Measure]:
        """The metrics by name; the loss of values is that of standardized ones."""
        if self.is_value:
            return {"loss": self._standardized_error, "mae": mean_absolute_error}
        return {"loss": _cross_entropy, "accuracy": _accuracy}

    def metrics(self, answers: np.ndarray, target: np.ndarray) -> dict[str, float]:
        """Return each metric of answers."""
        return {name: float(measure(target, answers)) for name, measure in self.measures.items()}

    def export_onnx(self, signature: Mapping[str, Any], _: Inputs) -> onnx.ModelProto:
        """Return the model as ONNX, with preprocessing inside."""
        return convert(self.estimator, self.preprocess.to_onnx(), signature)

    def _answer(self, matrix: np.ndarray) -> np.ndarray:
        way = self.estimator.predict if self.is_value else self.estimator.predict_proba
        return way(matrix)

    def _standardized_error(self, target: np.ndarray, values: np.ndarray) -> float:
        return mean_squared_error(target, values) / self.std**2


def _cross_entropy(target: np.ndarray, probabilities: np.ndarray) -> float:
    return log_loss(target, probabilities, labels=range(probabilities.shape[1]))


def _accuracy(target: np.ndarray, probabilities: np.ndarray) -> float:
    return accuracy_score(target, probabilities.argmax(axis=1))


def cross_validate(
    config: dict[str, Any], inputs: Inputs, target: np.ndarray, folds: int
) -> dict[str, float]:
    """Return mean and standard deviation of each metric: of folds, by models of the other folds."""
    splitter = KFold if config["data"]["target"]["kind"] == "value" else StratifiedKFold
    by_fold = []
    for rest, fold in splitter(folds, shuffle=True, random_state=config["seed"]).split(
        target, target
    ):
        model = Model(config)
        model.fit({name: array[rest] for name, array in inputs.items()}, target[rest])
        answers = model.answer({name: array[fold] for name, array in inputs.items()})
        by_fold.append(model.metrics(answers, target[fold]))
    values = {name: [metrics[name] for metrics in by_fold] for name in by_fold[0]}
    return {f"cv/{name}_mean": float(np.mean(of_folds)) for name, of_folds in values.items()} | {
        f"cv/{name}_std": float(np.std(of_folds)) for name, of_folds in values.items()
    }
