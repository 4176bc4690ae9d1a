"""The W&B server: whether it answers, and takes the API key."""

import socket
import urllib.error
import urllib.request
from typing import Any

import wandb
from wandb.errors import AuthenticationError

from ..errors import one_line
from ..variables import VariableError


def settings(**values: Any) -> wandb.Settings:
    """Return W&B's settings: those of its files, of the environment's variables, and `values`.

    Raises:
        VariableError: one of them is wrong.
    """
    try:
        return wandb.setup(wandb.Settings(silent=True, **values)).settings
    except ValueError as error:
        errors: Any = getattr(error, "errors", None)  # of pydantic, which W&B reads settings with
        if errors is None:
            raise
        (problem, *_) = errors(include_input=False, include_url=False)
        name = str(problem["loc"][0]) if problem["loc"] else "a setting"
        raise VariableError(
            f"WANDB_{name.upper()}, or {name} in a settings file of W&B: {problem['msg']}"
        ) from None


def log_in() -> str | None:
    """Return why the server can't be used, in one line, or None if it takes the API key."""
    # WANDB_MODE=offline would have it that there is no account.
    try:
        url = settings(mode="online").base_url
    except VariableError as error:
        return str(error)
    if problem := unreachable(url):
        return f"{url} can't be reached: {problem}"
    try:
        if wandb.login(prompt=False, verify=True):
            return None
    except AuthenticationError as error:
        reason = one_line(error)
        return f"{url} can't be reached, or refuses the API key: {reason}"
    return "no API key: `inv wandb.login`, or put WANDB_API_KEY into .env, then `inv wandb.sync`"


def unreachable(url: str) -> str | None:
    """Return why nobody answers at `url`: W&B itself would try again for minutes."""
    try:
        urllib.request.urlopen(url, timeout=10).close()
    except urllib.error.URLError as error:
        # An answer that is an error, or a certificate, is for W&B to judge.
        if isinstance(error.reason, ConnectionError | TimeoutError | socket.gaierror):
            return str(error.reason)
    except TimeoutError as error:
        return str(error)
    return None
