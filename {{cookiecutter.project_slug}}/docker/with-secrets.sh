#!/bin/sh
# Run a command with the secrets of a build, for as long as it takes:
#   package_index      the address of a package index, its credentials included
#   torch_index        the address of an index of CPU builds of torch
#   ca_certificates    certificates to trust, in addition to those of the base image
set -eu
secrets=/run/secrets

if [ -e "$secrets/package_index" ]; then
    PIP_INDEX_URL=$(cat "$secrets/package_index")
    export PIP_INDEX_URL UV_DEFAULT_INDEX="$PIP_INDEX_URL"
fi
if [ -e "$secrets/torch_index" ]; then
    TORCH_INDEX=$(cat "$secrets/torch_index")
    export TORCH_INDEX
fi
if [ -e "$secrets/ca_certificates" ]; then
    # /tmp is in memory while this runs.
    cat /etc/ssl/certs/ca-certificates.crt "$secrets/ca_certificates" >/tmp/certificates.pem
    export PIP_CERT=/tmp/certificates.pem SSL_CERT_FILE=/tmp/certificates.pem
fi
exec "$@"
