"""What a job asks of SLURM, and what its answers mean; tests/test_cluster.py has a cluster."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from workflow import ranks
from workflow.cleaning import job_snapshots
from workflow.cluster import __main__ as cluster
from workflow.cluster import follow, records, request, scheduler, settings
from workflow.cluster.records import Job
from workflow.config.values import ConfigError
from workflow.errors import CommandError
from workflow.paths import CONF, ROOT

GOLDEN = """\
#!/bin/bash

# Parameters
{array}#SBATCH --account=team
#SBATCH --chdir=/home/me/jobs/odd-owl
#SBATCH --constraint='a100|h100'
#SBATCH --cpus-per-task=4
#SBATCH --exclude=n3
#SBATCH --gpus-per-node=2
#SBATCH --job-name=odd-owl
#SBATCH --mem=64G
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=2
#SBATCH --open-mode=append
#SBATCH --output=/home/me/project/runs/cluster/{id}/{task}_0_log.out
#SBATCH --partition=long
#SBATCH --qos=high
#SBATCH --requeue
#SBATCH --signal=B:USR2@120
#SBATCH --time=2-00:00:00

# setup
module load cuda

# command
export SUBMITIT_EXECUTOR=slurm
exec '/home/me/my env/bin/python' -u -m submitit.core._submit
"""
TYPED = [
    *("cluster=slurm", "cluster.signal_seconds=120", "cluster.setup=[module load cuda]"),
    *("cluster.options.exclude=n3", "resources=gpu", "resources.nodes=2", "resources.gpus=2"),
    *("resources.memory=64G", "resources.time=2-00:00:00", "resources.partition=long"),
    *("resources.account=team", "resources.qos=high", 'resources.constraint="a100|h100"'),
]
POSIX = pytest.mark.skipif(sys.platform == "win32", reason="SLURM runs on Linux")


def script(typed: list[str], id: str, tasks: int | None = None) -> str:
    composed = settings.compose(typed, ROOT / CONF)
    assert composed.cluster
    config = {"trainer": {"accelerator": "gpu", "devices": 2, "num_nodes": 2}}
    processes = request.tasks_per_node(config, composed.resources)
    project = Path("/home/me/jobs/odd-owl")
    options = request.parameters(
        composed.cluster, composed.resources, "odd-owl", project, processes
    )
    command = f"{request.python('/home/me/my env/bin/python')} -u -m submitit.core._submit"
    return request.script(options, Path("/home/me/project/runs/cluster", id), command, tasks)


@POSIX
def test_the_script_of_a_job_has_all_that_was_asked_for() -> None:
    assert script(TYPED, "%j") == GOLDEN.format(array="", id="%j", task="%j")


@POSIX
def test_the_script_of_an_array_has_its_tasks() -> None:
    expected = GOLDEN.format(array="", id="%A", task="%A_%a")
    account = "#SBATCH --account=team\n"
    assert script(TYPED, "%A", 8) == expected.replace(account, f"{account}#SBATCH --array=0-7%8\n")


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["cluster=slrum"], "no conf/cluster/slrum.yaml; did you mean slurm"),
        (["cluster=slurm", "resources=gp"], "no conf/resources/gp.yaml; did you mean gpu"),
        (["cluster=slurm", "resources.gpu=1"], "resources.gpu: no such key; did you mean gpus"),
        (["cluster=slurm", "+resources.gpu=1"], "resources.gpu: no such key"),
        (["cluster=slurm", "resources.time=30"], "resources.time: 30 must be hours:minutes"),
        (["cluster=slurm", "resources.time=4:00"], "resources.time: 4:00 must be hours"),
        (["cluster=slurm", "resources.time=0:02:00"], "a minute longer than cluster.signal_sec"),
        (["cluster=slurm", "resources.memory=4000"], "4000 must be an amount with its unit"),
        (["cluster=slurm", "resources.nodes=0"], "resources.nodes: 0 must be at least 1"),
        (["cluster=slurm", "resources.account=7"], "resources.account: 7 is not text; quote it"),
        (["cluster=slurm", "cluster.scheduler=pbs"], "is not one of local, slurm"),
        (["cluster=slurm,local"], "is a grid"),
        (["resources.gpus=1"], "resources: are for a cluster only: cluster=slurm"),
        (["cluster.setup=[]"], "cluster.setup: is for a cluster only: cluster=slurm"),
    ],
)
def test_what_is_wrong_in_a_request_is_one_line(typed: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace(".", r"\.")) as refused:
        settings.compose(typed, ROOT / CONF)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("trainer", "typed", "message"),
    [
        ({"devices": 1, "num_nodes": 1}, ["resources.nodes=2"], "trainer.num_nodes=2"),
        ({"devices": 1, "num_nodes": 2}, [], "resources.nodes: 1, but the training uses 2"),
        ({"threads": 1}, ["resources.nodes=2"], "such a training has one process"),
        ({"accelerator": "gpu", "devices": 1}, [], "resources=gpu"),
        ({"accelerator": "gpu", "devices": 4}, ["resources.gpus=2"], "trainer.devices is 4"),
        ({"devices": 2, "num_nodes": 2}, ["resources.nodes=2"], "divided among 2 processes"),
    ],
)
def test_resources_that_do_not_fit_the_training_are_one_line(
    trainer: dict, typed: list[str], message: str
) -> None:
    composed = settings.compose(["cluster=slurm", *typed], ROOT / CONF)
    with pytest.raises(ConfigError, match=message):
        request.tasks_per_node({"trainer": trainer}, composed.resources)


def test_what_sbatch_would_read_in_place_of_the_script_is_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("SBATCH_TIMELIMIT", "SLURM_JOB_ID", "SLURM_CONF", "SUBMITIT_EXECUTOR"):
        monkeypatch.setenv(name, "x")
    assert {"SLURM_CONF"} == {n for n in scheduler.variables() if n.startswith(("S_", "SLU", "SB"))}


ANSWERS = {
    "scontrol": """\
JobId=7 JobName=odd-owl JobState=PENDING Reason=Resources Restarts=0 ExitCode=0:0 NodeList=(null)
JobId=9 ArrayJobId=8 ArrayTaskId=1 JobState=RUNNING Reason=None Restarts=2 ExitCode=0:0 NodeList=n2
JobId=8 ArrayJobId=8 ArrayTaskId=2,4-5%2 JobState=PENDING Reason=Priority NodeList=(null)
JobId=3 ArrayJobId=3 ArrayTaskId=0-6:3 JobState=PENDING Restarts= NodeList=(null)
""",
    "sacct": "8||\n8_[2,4-5]|PENDING|0:0|None assigned|Priority\n8_1|CANCELLED by 0|0:9|n2|None\n",
}


def test_answers_of_slurm_are_read() -> None:
    states = scheduler._parsed(ANSWERS["scontrol"])
    assert {name: state.name for name, state in states.items()} == {
        "7": "PENDING",
        "8_1": "RUNNING",
        **dict.fromkeys(["8_2", "8_4", "8_5", "3_0", "3_3", "3_6"], "PENDING"),
    }
    running = states["8_1"]
    assert (running.nodes, running.restarts, running.is_running) == ("n2", 2, True)
    accounted = scheduler._accounted(ANSWERS["sacct"], "8")
    assert accounted["8_1"] == scheduler.State("CANCELLED", "", "n2", "0:9")
    assert accounted["8_5"].reason == "Priority"


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    """A job that was submitted from a project in a folder of its own, an hour ago."""
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    submitted = Job("7", "odd-owl", "train", [], submitted=1.0)
    submitted.write()
    return submitted


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (scheduler.State("FAILED", "", "n2", "0:9"), "killed by signal 9 (kill -9, or out of mem"),
        (scheduler.State("FAILED", "", "n2", "137:0"), "killed by signal 9"),
        (scheduler.State("OUT_OF_MEMORY", "", "n2"), "out of memory (resources.memory) on n2"),
        (scheduler.State("NODE_FAIL", "", "n2"), "its node failed on n2"),
        (scheduler.State("COMPLETED"), "it ended without a result"),
        (None, "SLURM no longer knows it, and it left no result: it was killed"),
    ],
)
def test_a_job_that_says_nothing_of_its_end_has_failed(
    job: Job, state: scheduler.State | None, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {"7": state} if state else {}
    monkeypatch.setattr(scheduler, "states", lambda job: known)
    (standing,) = follow.standings(records.find("7")).values()
    assert standing.state == follow.FAILED
    assert message in standing.text


def test_a_slurm_that_does_not_answer_says_nothing_of_a_job(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # as on a machine that is no login node
    (standing,) = follow.standings(records.find("7")).values()
    assert (standing.state, standing.has_ended) == (follow.UNKNOWN, False)
    assert "scontrol is not on the PATH" in standing.text


@POSIX
@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("echo $SLURM_BITSTR_LEN; exit 0", "answer: 0"),  # of no limit: it cuts lists off
        ("exit 0", "prints nothing"),
        ("echo 'scontrol: error: Socket timed out' >&2; exit 1", "Socket timed out"),
    ],
)
def test_a_hiccup_of_slurm_does_not_end_a_job(
    job: Job, answer: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "scontrol").write_text(f"#!/bin/sh\n{answer}\n", encoding="utf-8")
    (tmp_path / "scontrol").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    (standing,) = follow.standings(records.find("7")).values()
    assert standing.state == follow.UNKNOWN
    assert reason in standing.text


@POSIX
def test_a_slurm_that_does_not_answer_is_asked_about_one_job(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = tmp_path / "asked"
    script = f"#!/bin/sh\necho job >> {asked}\necho slurm_load_jobs error >&2; exit 1\n"
    (tmp_path / "scontrol").write_text(script, encoding="utf-8")
    (tmp_path / "scontrol").chmod(0o755)
    for number in ("8", "9"):
        replace(job, id=number).write()
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["cluster", "status"])
    assert cluster.main() == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if follow.UNKNOWN in line]
    assert sorted(row.split()[0] for row in rows) == ["7", "8", "9"]
    assert all("slurm_load_jobs error" in row for row in rows)
    assert asked.read_text("utf-8") == "job\n"


@POSIX
def test_a_controller_that_is_down_is_one_line(tmp_path: Path, monkeypatch) -> None:
    for command in ("sbatch", "srun", "scontrol"):
        (tmp_path / command).write_text("#!/bin/sh\necho it is DOWN; exit 1\n", encoding="utf-8")
        (tmp_path / command).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CommandError, match="SLURM does not answer: its controller is down"):
        scheduler.require()


def test_a_snapshot_can_go_when_its_job_has_ended(job: Job, tmp_path: Path, monkeypatch) -> None:
    snapshot = tmp_path / "project-jobs/odd-owl"
    snapshot.mkdir(parents=True)
    replace(job, snapshot=str(snapshot)).write()
    monkeypatch.setenv("PATH", str(tmp_path))
    (item,) = job_snapshots.items()
    assert "SLURM does not answer" in item.stays
    records.write_outcome(job.folder, "7", "dvc repro failed", {})
    (item,) = job_snapshots.items()
    assert (item.free, item.stays) == (item.size, "")


def test_what_a_job_wrote_of_its_end_counts_first(job: Job) -> None:
    records.write_outcome(job.folder, "7", None, {"loss": 0.25})
    (standing,) = follow.standings(records.find("7")).values()
    assert (standing.state, standing.text) == (follow.SUCCEEDED, "loss 0.2500")


BATCH = {"SLURM_JOB_ID": "7", "SLURM_CPUS_PER_TASK": "2"}


@POSIX
@pytest.mark.parametrize(
    ("nodes", "variables", "start"),
    [
        (1, BATCH, None),
        (2, {**BATCH, "SLURM_STEP_ID": "0"}, None),
        (2, {"TORCHELASTIC_RUN_ID": "1"}, None),
        (2, BATCH, ["srun", "--kill-on-bad-exit=1", "--unbuffered", "--cpus-per-task=2"]),
        (2, {**BATCH, "SLURM_STEP_ID": "4294967290"}, ["srun", "--kill-on-bad-exit=1"]),
        (1, {**BATCH, ranks.IMAGE: "i.sif", ranks.CONTAINER: "apptainer"}, ["apptainer", "exec"]),
        (1, {**BATCH, ranks.IMAGE: "i", ranks.CONTAINER: "enroot"}, ["srun"]),
    ],
)
def test_a_training_starts_its_processes_where_slurm_does_not(
    nodes: int, variables: dict[str, str], start: list[str] | None, tmp_path: Path, monkeypatch
) -> None:
    (tmp_path / "srun").write_text("", encoding="utf-8")
    (tmp_path / "srun").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    command = ranks.command({"trainer": {"num_nodes": nodes}}, Path("runs/train"), variables)
    assert (command or [])[: len(start or [])] == (start or [])
    assert (command is None) == (start is None)
    if command and start:
        assert command[-1] == "hydra.run.dir=runs/train"  # they share one
        assert ("python" if ranks.IMAGE in variables else sys.executable) in command


def test_several_nodes_without_slurm_are_one_line() -> None:
    with pytest.raises(ConfigError, match=r"2 needs a job of SLURM: inv train -- cluster=slurm"):
        ranks.command({"trainer": {"num_nodes": 2}}, Path("run"), {})


def test_without_slurm_a_job_is_refused_in_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "workflow.cluster", "check", "--", "cluster=slurm"]
    environment = {"PATH": str(tmp_path), "HOME": str(tmp_path), "SYSTEMROOT": "C:\\Windows"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "no SLURM here" in line
    assert "cluster=local" in line


def test_a_record_of_a_job_is_read_again(job: Job) -> None:
    assert records.find("7") == job
    with pytest.raises(CommandError, match=r"no job '8'; known: 7"):
        records.find("8")
