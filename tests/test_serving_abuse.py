"""`inv serve` of a generated project, asked for long, wrongly, and by clients that hang up."""

from __future__ import annotations

import json
import statistics
import subprocess
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from driving import UV, Project
from served import Serving, serving
from soaking import INFER, Client, Soak

pytestmark = pytest.mark.slow

SCHEMATHESIS = "schemathesis==4.32.5"
SECONDS = [30, pytest.param(600, marks=pytest.mark.weekly)]
# A body that follows the schema is refused where it is not one for this model: what a model takes
# is in its metadata, not in OpenAPI.
NOT_CHECKED = "positive_data_acceptance"
MAX_GROWTH = 8 * 2**20  # bytes of one process


@pytest.fixture(scope="module")
def served(trained: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with serving(trained.copy(tmp_path_factory.mktemp("abused"))) as running:
        yield running


@pytest.mark.parametrize("seconds", SECONDS)
def test_the_api_is_what_its_openapi_tells_whatever_it_is_asked(
    served: Serving, seconds: int
) -> None:
    before = len(served.log.read_text("utf-8").splitlines())
    done = subprocess.run(
        [
            *(UV, "tool", "run", "--from", SCHEMATHESIS, "schemathesis", "run"),
            f"{served.url}/openapi.json",
            f"--max-time={seconds}",
            "--checks=all",
            f"--exclude-checks={NOT_CHECKED}",
            "--seed=1",
        ],
        cwd=served.log.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    asked: Counter[tuple[str, str, int]] = Counter()
    for line in served.log.read_text("utf-8").splitlines()[before:]:
        if line.startswith('{"time"'):
            record = json.loads(line)
            asked[record["method"], record["path"], record["status"]] += 1
    assert max(status for _, _, status in asked) < 500
    with urllib.request.urlopen(f"{served.url}/openapi.json") as got:
        paths = json.load(got)["paths"]
    version = served.metadata()["versions"][0]
    for path, operations in paths.items():
        for method in operations:
            asked_path = path.replace("{name}", "model").replace("{version}", version)
            assert asked[method.upper(), asked_path, 200] >= 1, asked_path
    inferred: Counter[int] = Counter()  # with a version and without
    for (_, path, status), number in asked.items():
        inferred[status] += number if path.endswith("/infer") else 0
    assert inferred[200] > 10
    assert inferred[400] > 100


def test_a_wrong_request_spoils_none_that_is_computed_with_it(served: Serving) -> None:
    def ask(kind: str) -> set[int]:
        client = Client(served.url, 0)
        return {
            client.ask() if kind == "right" else client.request("POST", INFER, b"wrong")
            for _ in range(300)
        }

    with ThreadPoolExecutor(8) as threads:
        statuses = list(threads.map(ask, ["right", "wrong"] * 4))
    assert statuses == [{200}, {400}] * 4


@pytest.mark.parametrize("seconds", SECONDS)
def test_all_kinds_of_requests_leave_memory_flat(served: Serving, seconds: int) -> None:
    soak = Soak(served, seconds)
    for process, memory in zip(soak.processes, soak.memory(), strict=True):
        fifth = len(memory) // 5
        before, after = (statistics.median(memory[start:][:fifth]) for start in (fifth, -fifth))
        print(f"{process.cmdline()[1:3]}: {before / 2**20:.1f} MiB, then {after / 2**20:.1f} MiB")
        assert after < before + MAX_GROWTH, process.cmdline()
    statuses: dict[str, set[int]] = {}
    for kind, status in soak.seen():
        statuses.setdefault(kind, set()).add(status)
    assert statuses == {
        "ask": {200},
        "ask_in_binary": {200},
        "ask_wrongly": {200, 400},
        "ask_for_what_is_not_there": {404},
        "announce_too_much": {413},
        "hang_up_in_the_middle": {0},
        "leave_before_the_answer": {0},
        "open_a_page": {200},
        "look": {200},
    }
