"""The estimator that conf/model/ names: made and checked before it is fitted."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from sklearn.base import BaseEstimator, is_classifier, is_regressor
from sklearn.pipeline import Pipeline, make_pipeline

from ..config.values import ConfigError
from ..errors import one_line
from .onnx_graph import estimators_in, require_convertible


def pipeline(**steps: Any) -> Pipeline:
    """Return a pipeline of steps in the order of their names in conf/model/."""
    return Pipeline([*steps.items()])


def make_estimator(node: Mapping[str, Any], target: Mapping[str, Any]) -> Pipeline:
    """Return the estimator of a config as a pipeline that is not fitted.

    Args:
        node: the config's `model`; an estimator, or a pipeline of several steps.
        target: the config's `data.target`.

    Raises:
        ConfigError: a parameter is wrong, the estimator does not answer with what the target is, or
            ONNX cannot express it.
    """
    try:
        estimator = instantiate(node, _convert_="all")
    except InstantiationException as error:
        raise ConfigError("model", one_line(error.__cause__ or error)) from None
    if not isinstance(estimator, BaseEstimator):
        raise ConfigError("model._target_", f"{node['_target_']} is no estimator of scikit-learn")
    whole = estimator if isinstance(estimator, Pipeline) else make_pipeline(estimator)
    if not whole.steps:
        raise ConfigError("model", "the pipeline has no steps")
    _check_steps(whole)
    for part in estimators_in(whole):
        _check_parameters(part)
    _check_answers(whole[-1], target)
    require_convertible(whole)
    return whole


def staged_answers(whole: Pipeline, matrix: np.ndarray) -> Iterator[np.ndarray]:
    """Yield what a fitted boosting answers after each iteration; nothing where there are none.

    Args:
        matrix: preprocessed inputs, (n, width).
    """
    last = whole[-1]
    transformed = whole[:-1].transform(matrix) if len(whole) > 1 else matrix
    way = "predict_proba" if is_classifier(last) else "predict"
    library = type(last).__module__.partition(".")[0]
    if hasattr(last, f"staged_{way}"):
        yield from getattr(last, f"staged_{way}")(transformed)
    elif library == "xgboost":
        for end in range(1, last.get_booster().num_boosted_rounds() + 1):
            yield getattr(last, way)(transformed, iteration_range=(0, end))
    elif library == "lightgbm":
        for end in range(1, last.booster_.current_iteration() + 1):
            yield getattr(last, way)(transformed, num_iteration=end)


def _check_steps(whole: Pipeline) -> None:
    """Raise ConfigError if a step is no estimator, or one before the last no transformer."""
    try:
        whole._validate_steps()
    except (TypeError, ValueError) as error:
        raise ConfigError("model", one_line(error)) from None


def _check_parameters(part: BaseEstimator) -> None:
    """Raise ConfigError if scikit-learn would refuse a parameter when it fits."""
    if not hasattr(part, "_parameter_constraints"):
        return  # of another library, which checks when it fits
    try:
        part._validate_params()
    except ValueError as error:
        raise ConfigError("model", one_line(error)) from None


def _check_answers(last: Any, target: Mapping[str, Any]) -> None:
    name = type(last).__name__
    if target["kind"] == "value":
        if not is_regressor(last):
            raise ConfigError("model", f"{name} is no regressor, and data.target is a value")
    elif not is_classifier(last):
        raise ConfigError("model", f"{name} is no classifier, and data.target has classes")
    elif not hasattr(last, "predict_proba"):
        fix = "put it into sklearn.calibration.CalibratedClassifierCV"
        raise ConfigError("model", f"{name} gives no probabilities: {fix}")
