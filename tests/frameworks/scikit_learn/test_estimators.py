"""Estimators of conf/model/, and others that a user may name there: exported, or refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from my_ml_project.export import export
from my_ml_project.train import train
from random_data import CLASSES, TABLE, VALUE
from workflow.config.values import ConfigError
from workflow.errors import CommandError
from workflow.onnx_file import weights_sha256
from workflow.paths import CONF, PREPARED_DATA, ROOT

Node = dict[str, Any]
SHIPPED = sorted(path.stem for path in (ROOT / CONF / "model").glob("*.yaml"))
# Small ones train in an instant.
SIZES = {"random_forest": ["model.n_estimators=5"], "gradient_boosting": ["model.max_iter=5"]}


def node(target: str, **parameters: Any) -> Node:
    return {"_target_": target, **parameters}


def forest(**parameters: Any) -> Node:
    return node("sklearn.ensemble.RandomForestClassifier", n_estimators=3, **parameters)


FREE: dict[str, tuple[Node, dict[str, Any]]] = {
    "neighbours": (node("sklearn.neighbors.KNeighborsClassifier", n_neighbors=3), CLASSES),
    "vote": (
        node(
            "sklearn.ensemble.VotingClassifier",
            voting="soft",
            flatten_transform=False,  # ONNX has no form of the other
            estimators=[
                ["forest", forest(random_state=0)],
                ["bayes", node("sklearn.naive_bayes.GaussianNB")],
            ],
        ),
        CLASSES,
    ),
    "calibrated": (
        node(
            "sklearn.calibration.CalibratedClassifierCV",
            estimator=node("sklearn.svm.LinearSVC", C=0.01),
            cv=2,
        ),
        CLASSES,
    ),
    "boosting": (
        node("sklearn.ensemble.GradientBoostingClassifier", n_estimators=4, random_state=0),
        CLASSES,
    ),
    "boosted value": (
        node("sklearn.ensemble.GradientBoostingRegressor", n_estimators=4, random_state=0),
        VALUE,
    ),
    "xgboost": (node("xgboost.XGBClassifier", n_estimators=4, n_jobs=1), CLASSES),
    "xgboost value": (node("xgboost.XGBRegressor", n_estimators=4, n_jobs=1), VALUE),
    "lightgbm": (
        node("lightgbm.LGBMClassifier", n_estimators=4, n_jobs=1, min_child_samples=2, verbose=-1),
        CLASSES,
    ),
    "lightgbm value": (
        node("lightgbm.LGBMRegressor", n_estimators=4, n_jobs=1, min_child_samples=2, verbose=-1),
        VALUE,
    ),
}


@pytest.fixture
def exported(prepare, tmp_path: Path) -> Callable[[dict[str, Any]], Path]:
    """Trains and exports a config; the export compares the two on batches of 1, 2 and 64."""

    def run(config: dict[str, Any]) -> Path:
        prepare(config)
        (tmp_path / "run").mkdir(exist_ok=True)
        train(config, tmp_path / "run")
        export(tmp_path / "run/model.ckpt", tmp_path / "model.onnx", PREPARED_DATA, samples=2)
        return tmp_path / "model.onnx"

    return run


def shipped(config: Callable[..., Node], name: str, *overrides: str) -> Node:
    """A config of a table, and a small model of conf/model/."""
    is_value = name.endswith("regressor") or name == "ridge"
    sizes = next((size for start, size in SIZES.items() if name.startswith(start)), [])
    target = VALUE if is_value else CLASSES
    return config(f"model={name}", *sizes, *overrides, inputs=TABLE, target=target)


@pytest.mark.parametrize("name", SHIPPED)
def test_each_of_conf_model_is_exported(name: str, config, exported) -> None:
    assert exported(shipped(config, name)).exists()


@pytest.mark.parametrize("name", FREE)
def test_others_are_exported(name: str, config, exported) -> None:
    model, target = FREE[name]
    assert exported(config(inputs=TABLE, target=target, model=model)).exists()


def test_what_onnx_has_no_form_of_is_one_line(config, exported) -> None:
    model, target = FREE["vote"]
    with pytest.raises(CommandError, match="VotingClassifier cannot be written as ONNX: flatten"):
        exported(config(inputs=TABLE, target=target, model={**model, "flatten_transform": True}))


def test_the_hash_of_the_weights_tells_forests_of_different_seeds_apart(config, exported) -> None:
    hashes = [
        weights_sha256(exported(config(f"seed={seed}", inputs=TABLE, target=CLASSES, model=model)))
        for seed, model in [(0, forest(random_state="${seed}"))] * 2
        + [(1, forest(random_state="${seed}"))]
    ]
    assert hashes[0] == hashes[1] != hashes[2]


LINEAR = "sklearn.linear_model."
PIPELINE = "workflow.scikit_learn.estimators.pipeline"
REFUSED: list[tuple[Node, dict[str, Any], str]] = [
    (
        node("sklearn.ensemble.RandomForrestClassifier"),
        CLASSES,
        "sklearn.ensemble has no RandomForrestClassifier",
    ),
    (forest(depth=3), CLASSES, "model.depth: no such key; did you mean max_depth?"),
    (forest(max_depth=0), CLASSES, "'max_depth' parameter of RandomForestClassifier must be an"),
    (node(f"{LINEAR}Ridge"), CLASSES, "Ridge is no classifier, and data.target has classes"),
    (forest(), VALUE, "RandomForestClassifier is no regressor, and data.target is a value"),
    (node("sklearn.svm.LinearSVC"), CLASSES, "LinearSVC gives no probabilities: put it into"),
    (
        node("sklearn.semi_supervised.LabelPropagation"),
        CLASSES,
        "LabelPropagation cannot be exported, ONNX has no form of it",
    ),
    (node(PIPELINE), CLASSES, "model: the pipeline has no steps"),
    (
        node(PIPELINE, first=node("collections.OrderedDict"), last=forest()),
        CLASSES,
        "should be transformers",
    ),
    (node(PIPELINE, first=forest(), last=forest()), CLASSES, "should be transformers"),
    (node("collections.OrderedDict"), CLASSES, "OrderedDict is no estimator of scikit-learn"),
]


@pytest.mark.parametrize(("model", "target", "problem"), REFUSED, ids=[row[2] for row in REFUSED])
def test_what_cannot_be_fitted_or_exported_is_refused_in_one_line(
    model: Node, target: dict[str, Any], problem: str, config, prepare, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as refused:
        train(config(inputs=TABLE, target=target, model=model), tmp_path / "run")
    assert problem in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_a_metric_that_is_not_logged_is_refused_before_anything_is_fitted(
    config, prepare, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"metric.name: f1 is not logged; .* loss, accuracy"):
        train(config("metric.name=f1"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


WRONG = [
    (["framework=theano"], 'framework: "theano" is not one of pytorch, keras, scikit-learn'),
    (
        ["~framework"],
        "framework: is missing in conf/config.yaml: one of pytorch, keras, scikit-learn",
    ),
    (["~trainer.threads"], "trainer.threads: is missing"),
    (["trainer.cross_validation=1"], "trainer.cross_validation: 1 must be at least 2"),
]


@pytest.mark.parametrize(("overrides", "problem"), WRONG, ids=[row[1] for row in WRONG])
def test_a_wrong_key_is_refused_when_the_config_is_composed(overrides, problem, config) -> None:
    with pytest.raises(ConfigError) as refused:
        config(*overrides)
    assert problem in str(refused.value)


def test_a_framework_that_the_file_names_wrong_or_not_is_refused_with_the_file(
    config, tmp_path: Path
) -> None:
    from workflow.config.compose import compose

    config()
    file = tmp_path / "project/conf/config.yaml"
    text = file.read_text("utf-8")
    for line in ("framework: theano", ""):
        file.write_text(text.replace("framework: scikit-learn", line), "utf-8")
        with pytest.raises(ConfigError, match=r"framework: .*conf/config.yaml"):
            compose([], file.parent)
