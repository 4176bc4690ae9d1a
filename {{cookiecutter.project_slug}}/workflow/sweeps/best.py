"""The winner of a sweep, as overrides.

python -m workflow.sweeps.best [--name NAME]    the latest, if none is named
"""

import json
import shlex
from collections.abc import Sequence

from ..errors import CommandError
from . import trials
from .choice import choose, parser


def main(arguments: Sequence[str] | None = None) -> None:
    command = parser("best", __doc__)
    command.add_argument("--json", action="store_true", help="for other programs")
    options = command.parse_args(arguments)
    try:
        sweep = choose(options.name)
        trial = trials.best(sweep)
    except CommandError as error:
        raise SystemExit(f"sweep.best: {error}") from None
    row = trials.row(trial)
    overrides = sweep.plan.overrides(trial.params)
    if options.json:
        content = {
            "sweep": sweep.plan.name,
            "trial": row.number,
            "metric": sweep.plan.metric,
            "value": row.value,
            "std": row.std,
            "values": row.values,
            "overrides": overrides,
            "runs": row.runs,
        }
        print(json.dumps(content, indent=2))
        return
    print(f"{sweep.plan.name}, trial {row.number}: {sweep.plan.metric} {row.value_text}")
    print(shlex.join(overrides))
    print(f"next: inv train -- the line above, or inv sweep.apply --name {sweep.plan.name}")


if __name__ == "__main__":
    main()
