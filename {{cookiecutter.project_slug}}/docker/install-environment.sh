#!/bin/sh
# Install what uv.lock names into /opt/venv, each file checked against the hash that is there.
#   install-environment.sh locked|cpu OPTION...
# The options are those of `uv export`. `cpu`: torch is the CPU build of the same version.
set -eu
torch=$1
shift

locked() { uv export --quiet --frozen --project /project --no-header --no-annotate "$@"; }
install() { uv pip install --quiet --python /opt/venv "$@"; }

uv venv --quiet --python python /opt/venv
locked "$@" >/tmp/locked.txt
grep -q '^torch==' /tmp/locked.txt || torch=locked # another framework: nothing to choose
if [ "$torch" = locked ]; then
    install --no-deps --require-hashes --requirements /tmp/locked.txt
else
    locked "$@" --prune torch >/tmp/others.txt
    locked "$@" --no-hashes >/tmp/versions.txt
    if [ -n "${TORCH_INDEX:-}" ]; then
        set -- --default-index "$TORCH_INDEX"
    else
        set -- --torch-backend cpu
    fi
    install --no-deps --constraints /tmp/versions.txt torch "$@" ||
        { echo "no CPU build of torch" >&2; exit 1; }
    install --no-deps --require-hashes --requirements /tmp/others.txt
    install --constraints /tmp/versions.txt torch # what this build of it needs and nothing else does
fi
uv pip check --quiet --python /opt/venv
