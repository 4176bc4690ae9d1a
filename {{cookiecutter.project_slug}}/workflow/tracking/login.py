"""`inv wandb.login`: keep the API key where W&B looks for it, outside of the project."""

import getpass
import sys

import wandb
from wandb.errors import AuthenticationError

from ..errors import one_line
from ..variables import VariableError
from .server import settings, unreachable


def main() -> None:
    try:
        url = settings().base_url
    except VariableError as error:
        raise SystemExit(str(error)) from None
    if problem := unreachable(url):
        raise SystemExit(f"{url} can't be reached: {problem}")
    if sys.stdin.isatty():
        key = getpass.getpass(f"API key (from {url}/authorize): ")
    else:
        key = sys.stdin.readline()
    if not key.strip():
        raise SystemExit("no API key given")
    try:
        wandb.login(key=key.strip(), relogin=True, verify=True)
    except (AuthenticationError, ValueError) as error:
        raise SystemExit(f"{url} refuses the API key: {one_line(error)}") from None
    print("runs are online from now on; `inv wandb.sync` uploads earlier ones")


if __name__ == "__main__":
    main()
