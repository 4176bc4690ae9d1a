"""A sweep in the terminal, and as a page.

python -m workflow.sweeps.show [--name NAME]    the latest, if none is named
"""

import webbrowser
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..errors import CommandError
from . import page, study, trials
from .choice import choose, parser
from .plan import SWEEPS
from .study import Sweep
from .trials import Row

SHOWN = 20  # trials; the page has all
LISTED = 10  # sweeps


def summary(sweep: Sweep, rows: Sequence[Row]) -> str:
    """Return one line: how far the sweep is, and the best value."""
    states = ", ".join(f"{number} {state}" for state, number in trials.count(rows).items())
    line = f"{sweep.plan.name}: {states or 'none'} of {sweep.plan.trials} trials"
    if rows and rows[0].has_finished:
        line += f"; best {sweep.plan.metric} {rows[0].value_text}"
    return line


def table(sweep: Sweep, rows: Sequence[Row]) -> Table:
    """Draw the best trials, with what the sweep chose for each."""
    drawn = Table(box=None, header_style="bold")
    drawn.add_column("trial", justify="right", no_wrap=True)
    drawn.add_column(sweep.plan.metric, justify="right", no_wrap=True)
    drawn.add_column("time", justify="right", no_wrap=True)
    drawn.add_column("", no_wrap=True)
    drawn.add_column("parameters", overflow="fold")
    for index, row in enumerate(rows[:SHOWN]):
        is_best = index == 0 and row.has_finished
        state = "best" if is_best else "" if row.has_finished else row.state
        params = (f"{name}={trials.param_text(value)}" for name, value in row.params.items())
        time = trials.duration_text(row.seconds)
        cells = [str(row.number), row.value_text, time, state, " ".join(params)]
        drawn.add_row(*map(Text, cells), style="bold" if is_best else "")
    return drawn


def overview() -> Iterator[str]:
    """Yield a line for each sweep, the latest first; none where there is only one."""
    names = study.names()[::-1]
    for name in names[:LISTED] if names[1:] else []:
        try:
            sweep = study.open(name)
            yield f"  {summary(sweep, trials.rows(sweep))}"
        except CommandError as error:
            yield f"  {name}: {error}"
    if names[LISTED:]:
        yield f"  … and {len(names) - LISTED} more in {SWEEPS}/"


def main(arguments: Sequence[str] | None = None) -> None:
    command = parser("show", __doc__)
    command.add_argument("--browser", action="store_true", help="open the page in the browser")
    options = command.parse_args(arguments)
    console = Console(highlight=False, soft_wrap=True)
    try:
        sweep = choose(options.name, says_which=False)
        trials.require_one_objective(sweep)
        rows = trials.rows(sweep)
        print(summary(sweep, rows))
        started = [row for row in rows if row.state != "waiting"]
        if started:
            console.print(table(sweep, started), soft_wrap=False)
        if len(started) > SHOWN:
            print(f"… and {len(started) - SHOWN} more trials, on the page")
        for numbers, reason in trials.failures(rows):
            console.print(Text(f"{numbers} failed: {reason}", style="red"))
        path = page.write(sweep)
    except CommandError as error:
        raise SystemExit(f"sweep.show: {error}") from None
    name = f"--name {sweep.plan.name}"
    follows = f"inv sweep.apply {name}, inv sweep.dashboard {name}"
    has_winner = rows and rows[0].has_finished
    print(f"{path.as_posix()} written")
    if options.name is None and (lines := [*overview()]):
        print("\n".join(["all sweeps, the latest first:", *lines]))
    print(f"next: {follows if has_winner else f'inv sweep {name}'}")
    if options.browser:
        webbrowser.open(path.resolve().as_uri())


if __name__ == "__main__":
    main()
