"""The W&B server: whether it answers, and takes the API key."""

import socket
import urllib.error
import urllib.request

import wandb
from wandb.errors import AuthenticationError


def log_in() -> str | None:
    """Return why the server can't be used, in one line, or None if it takes the API key."""
    # WANDB_MODE=offline would have it that there is no account.
    settings = wandb.setup(wandb.Settings(silent=True, mode="online")).settings
    if problem := unreachable(settings.base_url):
        return f"{settings.base_url} can't be reached: {problem}"
    try:
        if wandb.login(prompt=False, verify=True):
            return None
    except AuthenticationError as error:
        reason = " ".join(str(error).split())
        return f"{settings.base_url} can't be reached, or refuses the API key: {reason}"
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
