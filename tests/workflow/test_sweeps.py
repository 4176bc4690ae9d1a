"""Sweeps: from Hydra's syntax to a study, and what becomes of each trial."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState
from workflow import trial
from workflow.config import search
from workflow.config.compose import compose
from workflow.config.values import ConfigError
from workflow.errors import CommandError, failure
from workflow.paths import CONF, ROOT
from workflow.sweeps import optimizing, plan, study
from workflow.sweeps.locks import Lock
from workflow.sweeps.plan import Options, Plan
from workflow.sweeps.progress import outcome
from workflow.sweeps.space import as_overrides, combinations, probes, split
from workflow.sweeps.trials import best_trial
from workflow.sweeps.worker import Worker

GRID = ("model=mlp,cnn", "optimizer.lr=0.1,0.01")

# A training that takes no time: what it does stands in `optimizer.lr`, as a number of its own.
TRAINING = """
    import os, signal, sys, time
    from workflow.trial import exchange

    values = dict(text.split("=", 1) for text in sys.argv[1:] if not text.startswith("-"))
    lr, seed, trial = float(values["optimizer.lr"]), int(values["seed"]), exchange()
    with open("starts", "a") as file:
        file.write(f"{lr} {seed}\\n")
    with open("gpus", "a") as file:
        file.write(os.environ.get("CUDA_VISIBLE_DEVICES", ""))
    trial.start({"id": f"run-{lr}-{seed}"})
    if lr == 4:
        sys.exit("config: optimizer.lr: 4 is too large")
    if lr == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    if lr == 6 and open("starts").read().count("6.0 0") < 3:
        os.kill(os.getpid(), signal.SIGKILL)
    if lr == 7:
        sys.exit("interrupted: the next one resumes")
    for epoch in range(200):
        trial.report(epoch, lr)
        if trial.is_pruned:
            trial.end(None, pruned=True)
            sys.exit()
        if lr < 8:
            break
        time.sleep(0.05)
    trial.end(lr + seed)
"""


@pytest.fixture(autouse=True)
def quiet() -> None:
    optimizing.quiet()


@pytest.fixture
def home(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project folder, with a module `quick` that trains."""
    (workspace / "quick.py").write_text(textwrap.dedent(TRAINING), encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(workspace), str(ROOT)]))
    monkeypatch.setattr("workflow.sweeps.training.ROOT", workspace)
    return workspace


@pytest.fixture
def begun(home: Path) -> Callable[..., study.Sweep]:
    """Begins a sweep whose trials are trainings by `quick`."""

    def begin(*overrides: str, **options: object) -> study.Sweep:
        new = plan.make(Options(overrides, **options))  # type: ignore[arg-type]
        return study.create(replace(new, module="quick"))

    return begin


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("optimizer.lr=0.1,0.01", CategoricalDistribution(["0.1", "0.01"])),
        ("model=choice(mlp,cnn)", CategoricalDistribution(["mlp", "cnn"])),
        ("model.hidden=[64,32],[128]", CategoricalDistribution(["[64,32]", "[128]"])),
        ("x='a,b',null", CategoricalDistribution(["'a,b'", "null"])),
        ("x=range(1,5)", IntDistribution(1, 4)),
        ("x=range(1,10,3)", IntDistribution(1, 7, step=3)),
        ("x=range(5,1,-2)", CategoricalDistribution(["5", "3"])),
        ("x=range(0,1,0.5)", CategoricalDistribution(["0.0", "0.5"])),
        ("x=interval(0,0.5)", FloatDistribution(0, 0.5)),
        ("x=tag(log,interval(1e-4,1e-1))", FloatDistribution(1e-4, 1e-1, log=True)),
        ("x=int(interval(1,8))", IntDistribution(1, 8)),
    ],
)
def test_hydras_syntax_becomes_distributions(override: str, expected: object) -> None:
    space, fixed = split([override, "seed=3"])
    assert space == {override.partition("=")[0]: expected}
    assert fixed == ["seed=3"]


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("x=range(3,1)", "it has no value"),
        ("x=interval(1,0)", "low"),
        ("x=tag(log,interval(0,1))", "low"),
        ("x=glob(*)", "ConfigLoader"),
        ("x", "is not an override"),
        ("-m", "is an option of Hydra"),
    ],
)
def test_what_is_no_space_is_refused(override: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        split([override])


def test_a_grid_has_every_point_and_an_interval_has_no_end() -> None:
    space, _ = split(["model=mlp,cnn", "x=range(0,3)"])
    points = combinations(space)
    assert points is not None
    assert [as_overrides(point) for point in points[:2]] == [
        ["model=mlp", "x=0"],
        ["model=mlp", "x=1"],
    ]
    assert len(points) == 6
    space, _ = split(["model=mlp,cnn", "x=interval(0,1)"])
    assert combinations(space) is None
    assert probes(space)[-1] == {"model": "cnn", "x": 1.0}
    assert len(probes(space, limit=3)) == 3  # the first of each, and each other one alone


def test_numbers_reach_the_training_as_they_were_drawn() -> None:
    for drawn in (1e-05, 0.1 + 0.2, 3.0):
        (text,) = as_overrides({"optimizer.lr": drawn})
        assert compose([text], ROOT / CONF).optimizer.lr == drawn


def test_a_plan_is_the_same_for_the_same_command_alone(home: Path) -> None:
    first = plan.make(Options(GRID))
    assert (first.trials, first.grid, first.metric, first.mode) == (4, True, "val/loss", "min")
    assert first.name == f"model-lr-{first.fingerprint[:6]}"
    assert plan.make(Options(GRID[::-1])).fingerprint == first.fingerprint
    others = [
        plan.make(Options((*GRID, "trainer.max_epochs=3"))),
        plan.make(Options((*GRID, "metric.name=accuracy", "metric.mode=max"))),
        plan.make(Options(GRID, seeds=2)),
    ]
    assert len({first.fingerprint, *(other.fingerprint for other in others)}) == 4
    assert others[1].metric == "val/accuracy"
    assert not (home / "sweeps").exists()


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (Options(), "nothing to search: inv sweep -- KEY=A,B, or --search digits"),
        (Options(("seed=1",)), "nothing to search"),
        (Options(("optimizer.lr=interval(0,1)",)), "an interval is not a grid"),
        (Options(GRID, trials=0), "--trials 0: must be a positive number"),
        (Options(GRID, seeds=-1), "--seeds -1: must be a positive number"),
        (Options(("optimizer.lrr=1,2",)), "optimizer.lrr: .*no such key"),
        (Options(("optimizer.lr=a,b",)), "optimizer.lr: .*not a number"),
        (Options(("optimizer.lr=interval(-1,1)",), trials=3), "must be at least 0"),
        (Options(("model=mlp,cnn", "model.hidden=[64],[32]")), "model.hidden"),
        (Options(("data.test_fraction=0.1,0.2",)), "all trials share the prepared data"),
        (Options((*GRID, "data.test_fraction=0.1")), "all trials share the prepared data"),
        (Options((*GRID, "seed=3")), "seed: .*--seeds K"),
        (Options(("metric.name=loss,accuracy",)), "all trials share it"),
        (Options((*GRID, "hydra.run.dir=x")), "is set by the sweep"),
        (Options(GRID, name="../x"), "letters, digits"),
        (Options(search="digit"), "did you mean digits"),
    ],
)
def test_what_cannot_be_searched_is_refused_before_anything_runs(
    home: Path, options: Options, problem: str
) -> None:
    with pytest.raises((ConfigError, CommandError), match=problem):
        plan.make(options)
    assert not (home / "sweeps").exists()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("trials: 3", "space: is missing"),
        ("space: {a.b: 1,2}\ntrial: 3", "did you mean trials"),
        ("space: {a.b: [1, 2]}", "space: .*text such as"),
        ("space: {a.b: '1,2'}\ntrials: 0", "trials: 0 must be at least 1"),
        ("space: {a.b: '1,2'}\nsampler: tpe", "sampler: needs _target_"),
        (
            "space: {a.b: '1,2'}\nsampler: {_target_: optuna.samplers.TPESample}",
            "did you mean TPESampler",
        ),
        (
            "space: {a.b: '1,2'}\npruner: {_target_: optuna.pruners.MedianPruner, n_startup: 3}",
            "did you mean n_startup_trials",
        ),
        ("space: {a.b: '1,2'\n", "conf/search/mine.yaml"),
    ],
)
def test_a_search_file_is_checked(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "mine.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=problem) as caught:
        search.load("mine", tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("node", "problem"),
    [
        ({"_target_": "optuna.pruners.MedianPruner"}, "is not a sampler"),
        ({"_target_": "optuna.samplers.RandomSampler", "seed": "x"}, "seed|int"),
        ({"_target_": "optuna.samplers.BruteForceSampler"}, "a grid needs none"),
    ],
)
def test_a_sampler_is_made_before_anything_runs(node: dict[str, object], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        optimizing.require(node, None, {"x": FloatDistribution(0, 1)})


def test_the_shipped_search_space_is_one(home: Path) -> None:
    shipped = plan.make(Options(search="digits"))
    assert (shipped.name, shipped.trials, shipped.grid) == ("digits", 20, False)
    assert isinstance(optimizing.pruner(shipped.pruner), optuna.pruners.MedianPruner)
    fewer = plan.make(Options(("model=mlp",), search="digits", trials=2))
    assert "model" not in fewer.space  # what is typed replaces what the file has
    assert fewer.fixed == ("model=mlp",)


def test_a_sweep_that_has_begun_is_continued_or_another_is_refused(
    begun: Callable[..., study.Sweep],
) -> None:
    overrides = ("optimizer.lr=interval(0,3)",)
    sweep = begun(*overrides, trials=2, name="mine")
    assert [state.state for state in sweep.trials] == [TrialState.WAITING] * 2
    assert plan.make(Options(overrides, trials=2, name="mine")).id == sweep.plan.id
    assert plan.make(Options(name="mine")).id == sweep.plan.id
    assert len(begun(name="mine", trials=3).trials) == 3
    for options, problem in [
        (Options(overrides, trials=2, name="mine"), "has 3 trials: more can be added"),
        (Options(("optimizer.lr=1,2",), name="mine"), "another space \\(optimizer.lr\\)"),
        (Options((*overrides, "model=mlp"), trials=3, name="mine"), "other overrides \\(none\\)"),
        (Options(name="mine", seeds=2), "--seeds 2: sweep mine has 1"),
        (Options(name="mine", storage="sqlite:///x.db"), "in another storage"),
    ]:
        with pytest.raises(CommandError, match=problem):
            plan.make(options)
    assert study.names() == ["mine"]
    assert len(study.open("mine").trials) == 3


def test_editing_conf_changes_no_trial(begun: Callable[..., study.Sweep]) -> None:
    sweep = begun(*GRID)
    copy = (sweep.plan.conf / "config.yaml").read_text(encoding="utf-8")
    assert copy == (ROOT / CONF / "config.yaml").read_text(encoding="utf-8")


def test_other_code_ends_a_sweep(begun: Callable[..., study.Sweep]) -> None:
    sweep = begun("optimizer.lr=1,2")
    code = next(name for name in sweep.plan.inputs if name.endswith("model.py"))
    changed = replace(sweep.plan, inputs={**sweep.plan.inputs, code: "of other code"})
    with pytest.raises(CommandError, match=r"model\.py: changed since sweep"):
        Worker(replace(sweep, plan=changed)).run()
    assert not any(trial.state.is_finished() for trial in sweep.trials)


def test_trials_that_are_gone_are_not_started_over(begun: Callable[..., study.Sweep]) -> None:
    sweep = begun("optimizer.lr=1,2")
    Worker(sweep).run()
    (sweep.folder / study.JOURNAL).rename(sweep.folder / "elsewhere")
    for look in (study.open, lambda name: study.create(sweep.plan)):
        with pytest.raises(CommandError, match="are gone: no study"):
            look(sweep.plan.name)
    assert not (sweep.folder / study.JOURNAL).exists()


def test_two_sweeps_do_not_share_a_study(begun: Callable[..., study.Sweep], home: Path) -> None:
    url = "sqlite:///trials.db"
    sweep = begun("optimizer.lr=1,2", name="mine", storage=url)
    assert (home / "trials.db").exists()
    sweep.folder.rename(home / "elsewhere")
    with pytest.raises(CommandError, match="has a study mine of another sweep"):
        begun("optimizer.lr=1,3", name="mine", storage=url)


@pytest.mark.parametrize("url", ["foo://user:hidden@host/x", "sqlite:///no/such/folder/x.db"])
def test_a_storage_that_cannot_be_used_is_refused(home: Path, url: str) -> None:
    new = plan.make(Options(GRID, storage=url))
    with pytest.raises(CommandError, match="cannot be used") as caught:
        study.require_storage(new)
    assert "hidden" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_creation_that_was_killed_is_completed(begun: Callable[..., study.Sweep]) -> None:
    sweep = begun(*GRID)
    journal = sweep.folder / study.JOURNAL
    lines = journal.read_text(encoding="utf-8").splitlines(keepends=True)
    for end in (0, 1, 2, len(lines) // 2, len(lines) - 1):  # what is left after a kill
        journal.write_text("".join(lines[:end]), encoding="utf-8")
        again = study.create(sweep.plan)
        points = [trial.system_attrs["fixed_params"] for trial in again.trials]
        assert points == combinations(sweep.plan.distributions)


def test_a_line_that_was_cut_off_does_not_break_the_journal(
    begun: Callable[..., study.Sweep],
) -> None:
    sweep = begun("optimizer.lr=1,2")
    with (sweep.folder / study.JOURNAL).open("a", encoding="utf-8") as file:
        file.write('{"op_code":4,"work')
    Worker(study.open(sweep.plan.name)).run()
    assert [trial.value for trial in study.open(sweep.plan.name).trials] == [1, 2]


def test_each_trial_ends_as_its_training_did(begun: Callable[..., study.Sweep], home: Path) -> None:
    sweep = begun("optimizer.lr=3,4,5,6", name="mine")
    Worker(sweep, slot=1).run()
    ended = sweep.trials
    assert [trial.state.name for trial in ended] == ["COMPLETE", "FAIL", "FAIL", "COMPLETE"]
    assert (ended[0].value, ended[3].value) == (3, 6)
    assert ended[0].user_attrs["run"] == [{"id": "run-3.0-0"}]
    assert ended[0].user_attrs["folder"] == "sweeps/mine/0"
    assert ended[1].user_attrs["error"] == "config: optimizer.lr: 4 is too large"
    assert ended[2].user_attrs["error"] == "killed 5 times by SIGKILL: out of memory?"
    overrides = json.loads((sweep.folder / "0/overrides.json").read_text(encoding="utf-8"))
    assert overrides == ["optimizer.lr=3"]
    starts = (home / "starts").read_text(encoding="utf-8").split("\n")
    assert [starts.count(f"{lr}.0 0") for lr in (3, 4, 5, 6)] == [1, 1, 5, 3]
    best = best_trial(sweep)
    assert best is not None
    assert best.number == 0
    lines = [*outcome(sweep)]
    assert lines[0] == "sweep mine: 4 trials: 2 finished, 2 failed"
    assert lines[-1] == "next: inv sweep.show --name mine, inv sweep.apply --name mine"
    Worker(sweep).run()  # nothing is left
    assert (home / "starts").read_text(encoding="utf-8").split("\n") == starts


def test_seeds_are_averaged_and_the_mean_decides(begun: Callable[..., study.Sweep]) -> None:
    sweep = begun("optimizer.lr=2,1", seeds=3)
    Worker(sweep).run()
    first = sweep.trials[0]
    assert first.value == 3
    assert first.user_attrs["values"] == [2, 3, 4]
    assert first.user_attrs["std"] == 1
    assert [run["id"] for run in first.user_attrs["run"]] == [f"run-2.0-{n}" for n in range(3)]
    assert "best: trial 1, val/loss 2.0000 ± 1.0000: optimizer.lr=1" in [*outcome(sweep)]


def test_the_metric_of_an_epoch_prunes(begun: Callable[..., study.Sweep]) -> None:
    sweep = begun("optimizer.lr=1,9")
    node = {"_target_": "optuna.pruners.ThresholdPruner", "upper": 8.5}
    sweep = replace(sweep, plan=replace(sweep.plan, pruner=node))
    Worker(sweep).run()
    finished, pruned = sweep.trials
    assert (finished.state, pruned.state) == (TrialState.COMPLETE, TrialState.PRUNED)
    assert pruned.intermediate_values[0] == 9
    assert len(pruned.intermediate_values) < 200
    assert pruned.user_attrs["run"] == [{"id": "run-9.0-0"}]


def test_each_training_has_a_gpu_of_its_own(begun: Callable[..., study.Sweep], home: Path) -> None:
    sweep = begun("optimizer.lr=1,2")
    with Lock(sweep.folder.parent / "gpu-3.lock"):  # of a trial of another worker
        Worker(sweep, gpus=["3", "5"]).run()
    assert [trial.value for trial in sweep.trials] == [1, 2]
    assert (home / "gpus").read_text(encoding="utf-8") == "55"


def test_failures_end_a_worker_where_asked(begun: Callable[..., study.Sweep]) -> None:
    sweep = begun("optimizer.lr=4,4.0,3", name="mine")
    Worker(sweep, failures=2).run()
    assert [trial.state.name for trial in sweep.trials] == ["FAIL", "FAIL", "WAITING"]
    assert [*outcome(sweep)][-1] == "next: inv sweep --name mine, which continues it"


def test_an_interrupted_trial_is_neither_failed_nor_lost(begun: Callable[..., study.Sweep]) -> None:
    sweep = begun("optimizer.lr=7,1")
    with pytest.raises(KeyboardInterrupt):
        Worker(sweep).run()
    assert [trial.state.name for trial in sweep.trials] == ["RUNNING", "WAITING"]


def test_a_trial_of_a_dead_worker_is_taken_over_and_one_of_a_living_is_not(
    begun: Callable[..., study.Sweep],
) -> None:
    sweep = begun("optimizer.lr=1,2")
    storage = sweep.study._storage
    for waiting in sweep.trials:
        storage.set_trial_state_values(waiting._trial_id, state=TrialState.RUNNING)
    with Lock(sweep.folder / "1" / "lock"):
        Worker(sweep).run()
        assert [trial.state.name for trial in sweep.trials] == ["COMPLETE", "RUNNING"]
    Worker(sweep).run()
    assert [trial.value for trial in sweep.trials] == [1, 2]


def test_what_is_drawn_follows_from_seed_and_number(begun: Callable[..., study.Sweep]) -> None:
    values = []
    for name in ("one", "two"):
        sweep = begun("optimizer.lr=interval(0,3)", trials=3, name=name)
        if name == "two":  # a worker that was killed after it had drawn the first
            taken = Worker(sweep)._start(sweep.trials[0])
            assert taken is not None
            taken._suggest("optimizer.lr", sweep.plan.distributions["optimizer.lr"])
        Worker(study.open(name)).run()
        values.append([trial.params["optimizer.lr"] for trial in sweep.trials])
    assert values[0] == values[1]
    assert len({*values[0]}) == 3


def test_a_lock_is_held_by_whoever_has_the_file_open(tmp_path: Path) -> None:
    lock, other = Lock(tmp_path / "lock"), Lock(tmp_path / "lock")
    assert lock.take()
    assert not other.take()
    command = [sys.executable, "-c", "input()"]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=[lock.fileno()])
    lock.release()
    assert not other.take()  # the training lives
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert other.take()


def test_a_report_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    exchange = trial.Exchange(tmp_path)
    exchange.report(0, 0.5)
    with (tmp_path / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"epoch": 1, "va')
    assert exchange.reports == [(0, 0.5)]
    assert exchange.result is None
    exchange.end(0.25)
    assert exchange.result == trial.Result(0.25, pruned=False)


def test_a_training_that_is_no_trial_reports_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(trial.VARIABLE, raising=False)
    assert trial.exchange() is None


def test_a_plan_is_read_as_it_was_written(begun: Callable[..., study.Sweep]) -> None:
    sweep = begun(*GRID, seeds=2)
    read = plan.read(sweep.plan.name)
    assert isinstance(read, Plan)
    assert read == study.open(sweep.plan.name).plan
    assert read.seeds == (0, 1)
    (sweep.folder / plan.FILE).write_text("{", encoding="utf-8")
    with pytest.raises(CommandError, match=r"plan\.json cannot be read"):
        plan.read(sweep.plan.name)


def test_the_reason_of_a_failure_is_that_of_the_training(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    hydras = "Set the environment variable HYDRA_FULL_ERROR=1 for a complete stack trace."
    log.write_text(f"Traceback …\nRuntimeError: out of memory\n\n{hydras}\n", encoding="utf-8")
    assert failure(log) == "RuntimeError: out of memory"
