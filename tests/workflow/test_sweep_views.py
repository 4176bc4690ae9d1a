"""What people see of a sweep, and what they do with its winner."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import optuna
import pytest
import yaml
from optuna.trial import TrialState
from wandb.sdk.launch.sweeps.utils import create_sweep_command_args
from workflow.config.compose import compose
from workflow.config.schema import plain
from workflow.config.values import ConfigError
from workflow.errors import CommandError
from workflow.paths import CONF, ROOT
from workflow.ports import is_taken
from workflow.serving.local import free_port
from workflow.sweeps import __main__ as sweeps
from workflow.sweeps import apply, best, dashboard, page, plan, show, study, trials, wandb_sweep
from workflow.sweeps.plan import Options
from workflow.sweeps.study import Sweep

SPACE = ("optimizer.lr=tag(log,interval(1e-4,1e-1))", "model.dropout=interval(0,0.5)")
REASON = "config: model.dropout: <2> is above 1 & wrong"
Sweeps = Callable[..., Sweep]


@pytest.fixture
def swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sweeps:
    """Makes a sweep whose trials came out as is said: values of each seed, an error, or pruned."""
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(ROOT / CONF, tmp_path / CONF)

    def make(name: str, *outcomes: Any, space: tuple[str, ...] = SPACE, epochs: int = 0) -> Sweep:
        seeds = max([len(one) for one in outcomes if isinstance(one, list)], default=1)
        options = Options(space, name=name, trials=len(outcomes) or 3, seeds=seeds)
        sweep = study.create(plan.make(options))
        for outcome in outcomes:
            trial = sweep.study.ask(sweep.plan.distributions)
            run = {"id": f"run{trial.number}", "path": None, "url": f"https://w/{trial.number}"}
            trial.set_user_attr("run", [run, None])
            for epoch in range(epochs):
                trial.report(1 / (epoch + 1) + trial.number, epoch)
            if isinstance(outcome, list):
                mean = sum(outcome) / len(outcome)
                trial.set_user_attr("values", outcome)
                trial.set_user_attr("std", 0.5 if seeds > 1 else None)
                sweep.study.tell(trial, mean)
            elif outcome is TrialState.PRUNED:
                sweep.study.tell(trial, state=outcome)
            else:
                trial.set_user_attr("error", outcome)
                sweep.study.tell(trial, state=TrialState.FAIL)
        return sweep

    return make


@pytest.mark.slow
def test_the_winner_is_the_best_mean_and_the_page_shows_every_trial(
    swept: Sweeps, capsys: pytest.CaptureFixture[str]
) -> None:
    outcomes = [[0.5, 0.7], REASON, [0.2, 0.4], TrialState.PRUNED, [0.1, 0.9], REASON]
    sweep = swept("seeds", *outcomes, space=(*SPACE, "model=mlp,cnn"), epochs=3)
    show.main(["--name", "seeds"])
    printed = capsys.readouterr().out
    assert printed.startswith("seeds: 3 finished, 1 pruned, 2 failed of 6 trials; best val/loss ")
    numbers = re.findall(r"^ +(\d+) ", printed, re.MULTILINE)
    assert numbers == ["2", "4", "0", "3", "1", "5"]
    assert "0.3000 ± 0.5000" in printed
    assert f"trials 1, 5 failed: {REASON}\n" in printed
    file = Path("reports/sweeps/seeds.html")
    text = file.read_text("utf-8")
    assert text.count("<img src=") == 5
    assert REASON not in text
    assert REASON.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;") in text
    assert all(f'<a href="https://w/{number}">run{number}</a>' in text for number in range(6))
    winner = sweep.plan.overrides(sweep.trials[2].params)
    assert f"inv train -- {' '.join(winner)}" in text
    assert "gives the value of the first seed, 0.2000" in text
    assert set(re.findall(r'(?:src|url\()="?(\w+):', text)) == {"data"}  # it loads nothing
    assert page.write(study.open("seeds")).read_text("utf-8") == text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("outcomes", "space", "charts", "message"),
    [
        ([[0.5]], SPACE, 1, "This needs two finished trials."),
        ([[0.5], [0.5]], SPACE, 3, "All trials have the same value."),
        ([[0.5], [0.4]], ("optimizer.lr=0.1,0.01",), 3, "This needs two parameters."),
        ([REASON, TrialState.PRUNED], SPACE, 0, "No trial has finished."),
        ([], SPACE, 0, "No trial has finished."),
    ],
    ids=["one", "same", "one parameter", "none finished", "none"],
)
def test_a_chart_that_cannot_be_drawn_is_left_out_with_its_reason(
    swept: Sweeps, outcomes: list[Any], space: tuple[str, ...], charts: int, message: str
) -> None:
    text = page.write(swept("few", *outcomes, space=space)).read_text("utf-8")
    assert text.count("<img src=") == charts
    assert message in text


def test_the_winner_is_printed_as_overrides_that_compose_to_its_values(
    swept: Sweeps, capsys: pytest.CaptureFixture[str]
) -> None:
    space = (*SPACE, "tracking.tags=[a b]")
    sweep = swept("one", [0.5], [0.2], space=space)
    best.main(["--json"])
    described = json.loads(capsys.readouterr().out)
    assert (described["trial"], described["value"], described["values"]) == (1, 0.2, [0.2])
    params = sweep.trials[1].params
    config = compose(described["overrides"], ROOT / CONF)
    assert config.optimizer.lr == params["optimizer.lr"]
    assert config.tracking.tags == ["a b"]
    swept("two", [0.5])
    best.main([])
    printed = capsys.readouterr()
    assert printed.err == "two, the latest sweep; there are also one (--name)\n"
    assert printed.out.startswith("two, trial 0: val/loss 0.5000\n")
    best.main(["--name", "one"])
    assert capsys.readouterr().out.splitlines()[1].startswith("'tracking.tags=[a b]' optimizer.lr=")


def test_what_is_not_there_is_one_line(swept: Sweeps) -> None:
    def refused(name: str) -> str:
        lines = set()
        for module in (show, best, apply, dashboard):
            with pytest.raises(SystemExit) as caught:
                module.main(["--name", name])
            command = module.__name__.rpartition(".")[2]
            lines.add(str(caught.value).removeprefix(f"sweep.{command}: "))
        (line,) = lines
        assert "\n" not in line
        return line

    assert refused("digits") == "no sweep so far: inv sweep -- KEY=A,B"
    journal = swept("digits", [0.5]).folder / study.JOURNAL
    assert refused("digit") == "no sweep 'digit'; did you mean digits?"
    journal.unlink()
    assert refused("digits").startswith("the trials of sweep digits are gone: no study digits in ")
    assert not journal.exists()


def test_without_a_winner_the_line_says_what_its_trials_came_to(swept: Sweeps) -> None:
    sweep = swept("failed", REASON, TrialState.PRUNED)
    with pytest.raises(CommandError) as caught:
        trials.best(sweep)
    expected = "no trial of failed has finished (1 pruned, 1 failed): inv sweep.show --name failed"
    assert str(caught.value) == f"{expected} says why"
    several = optuna.create_study(directions=["minimize", "minimize"])
    with pytest.raises(
        CommandError, match=r"^failed is a study of 2 objectives, which has no best"
    ):
        trials.best(Sweep(sweep.plan, several))


@pytest.mark.slow
def test_the_winner_becomes_an_experiment_of_conf(swept: Sweeps, tmp_path: Path) -> None:
    conf = tmp_path / CONF
    sweep = swept("digits-1", [0.5], [0.2])
    trained = plain(compose(sweep.plan.overrides(sweep.trials[1].params), ROOT / CONF))
    # What has changed since is in the overlay, too: the trial had the value of then.
    trainer = next((conf / "trainer").glob("cpu.yaml"))
    trainer.write_text(trainer.read_text("utf-8").replace("max_epochs: ", "max_epochs: 1"))
    assert apply.apply(sweep, "digits-1", conf) == [CONF / "experiment/digits-1.yaml"]
    assert plain(compose(["experiment=digits-1"], conf)) == trained
    assert plain(compose([], conf)) != trained
    file = conf / "experiment/digits-1.yaml"
    text = file.read_text("utf-8")
    assert "trial 1 of sweep digits-1 (val/loss 0.2000)" in text
    schema = json.loads((ROOT / CONF / "schema.json").read_text("utf-8"))
    jsonschema.validate(yaml.safe_load(text), schema | {"$ref": "#/definitions/experiment"})

    assert apply.apply(sweep, "digits-1", conf) == []  # it is there
    file.write_text(f"{text}# mine\n", encoding="utf-8")
    with pytest.raises(CommandError, match=r"^conf/experiment/digits-1\.yaml has other content"):
        apply.apply(sweep, "digits-1", conf)
    assert file.read_text("utf-8") == f"{text}# mine\n"
    with pytest.raises(CommandError, match=r"^'2026\.1' can't be an experiment's name"):
        apply.apply(sweep, "2026.1", conf)


@pytest.mark.slow
def test_the_dashboard_answers_until_ctrl_c(swept: Sweeps) -> None:
    swept("digits", [0.5], [0.2])
    port = free_port()
    command = [sys.executable, "-m", "workflow.sweeps.dashboard", "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    line = process.stdout.readline()
    url = re.search(r"http://\S+", line)
    assert url, line
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url[0]) as answer:
        assert b"Optuna Dashboard" in answer.read()
    api = url[0].replace("/dashboard/", "/api/")
    deadline = time.monotonic() + 20
    numbers: list[int] = []
    while len(numbers) < 2 and time.monotonic() < deadline:
        with opener.open(f"{api}?after=0") as answer:
            numbers = [trial["number"] for trial in json.load(answer)["trials"]]
    assert numbers == [0, 1]
    with pytest.raises(SystemExit, match=f"^sweep.dashboard: port {port} is taken: "):
        dashboard.main(["--port", str(port)])
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 0
    assert process.stdout.read() == "sweep.dashboard: stopped\n"
    assert not is_taken(port)


@pytest.mark.parametrize(
    ("space", "trials", "method"),
    [
        (("optimizer.lr=0.1,1e-05", "model=mlp,cnn"), None, "grid"),
        (
            ("optimizer.lr=tag(log,interval(1e-4,1e-1))", "model.dropout=interval(0,0.5)"),
            4,
            "bayes",
        ),
        (("model=mlp,cnn", "loader.batch_size=range(8,32,8)"), 4, "random"),
    ],
)
def test_an_agent_of_wandb_gets_a_command_that_composes(
    swept: Sweeps, space: tuple[str, ...], trials: int | None, method: str
) -> None:
    fixed_ones = ("trainer.max_epochs=2", "tracking.tags=[a b]")
    planned = plan.make(Options((*space, *fixed_ones), name="w", trials=trials))
    file = wandb_sweep.write(planned)
    content = yaml.safe_load(file.read_text("utf-8"))
    assert content["method"] == method
    assert content["metric"] == {"name": "val/loss", "goal": "minimize"}
    assert content.get("run_cap") == trials
    assert content["project"] == compose([], ROOT / CONF).tracking.project
    values = {
        key: {"value": (found.get("values") or [found["min"]])[0]}
        for key, found in content["parameters"].items()
    }
    args = create_sweep_command_args({"args": values})["args_no_hyphens"]
    start, module, *fixed, rest = content["command"][1:]
    assert (start, module, rest) == ("python", "-m", "${args_no_hyphens}")
    config = compose([*fixed[1:], *args], ROOT / CONF)
    assert fixed[0] == "my_ml_project.train"
    assert (config.trainer.max_epochs, config.tracking.tags) == (2, ["a b"])


def test_what_wandb_cannot_search_is_one_line(swept: Sweeps) -> None:
    added = plan.make(Options(("+trainer.profiler=null,simple",), name="added"))
    with pytest.raises(
        ConfigError, match=r"^\+trainer\.profiler: W&B takes no parameter of this name$"
    ):
        wandb_sweep.write(added)
    with pytest.raises(CommandError, match=r"^--seeds: an agent of W&B's trains once"):
        wandb_sweep.write(plan.make(Options(SPACE, name="seeds", trials=2, seeds=2)))
    with pytest.raises(SystemExit, match=r"^sweep: --wandb: W&B's agents are started by hand: "):
        sweeps.main(["--wandb", "--", "cluster=slurm", *SPACE])
    assert not list(Path("sweeps").rglob("wandb.yaml"))
