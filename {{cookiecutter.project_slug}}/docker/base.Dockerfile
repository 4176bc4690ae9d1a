# What the images for training share: the whole environment of uv.lock, tools included, and the
# code. docker-bake.hcl gives it its arguments, and calls it `base`.
ARG BASE_IMAGE

FROM ${BASE_IMAGE} AS uv

ARG UV_VERSION=0.13.9
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never
RUN --mount=type=bind,source=docker,target=/docker \
    --mount=type=cache,target=/root/.cache \
    --mount=type=secret,id=package_index \
    --mount=type=secret,id=ca_certificates \
    --mount=type=tmpfs,target=/tmp \
    python -m venv /opt/uv \
    && sh /docker/with-secrets.sh /opt/uv/bin/pip install --quiet "uv==${UV_VERSION}"
ENV PATH=/opt/venv/bin:/opt/uv/bin:${PATH}

FROM uv AS base

# tini hands signals on to all processes of a training, not to the first one alone.
RUN apt-get update --quiet=2 \
    && DEBIAN_FRONTEND=noninteractive apt-get install --quiet=2 --yes --no-install-recommends \
        git openssh-client tini \
    && rm -rf /var/lib/apt/lists/*

# TORCH: "locked" as in uv.lock, or "cpu", the CPU build of the same version.
ARG TORCH=locked
# EXTRAS: those of pyproject.toml, spaces between: the DVC remote's client, the backend of Keras.
ARG EXTRAS=""
RUN --mount=type=bind,source=docker,target=/docker \
    --mount=type=bind,source=pyproject.toml,target=/project/pyproject.toml \
    --mount=type=bind,source=uv.lock,target=/project/uv.lock \
    --mount=type=cache,target=/root/.cache \
    --mount=type=secret,id=package_index \
    --mount=type=secret,id=torch_index \
    --mount=type=secret,id=ca_certificates \
    --mount=type=tmpfs,target=/tmp \
    for extra in ${EXTRAS}; do set -- "$@" --extra "${extra}"; done \
    && sh /docker/with-secrets.sh sh /docker/install-environment.sh "${TORCH}" --all-groups --no-group serve-gpu "$@"

# Whoever runs a container writes as themselves: the home folder is open to any user.
RUN useradd --uid 1000 --create-home --shell /bin/bash user \
    && chmod 1777 /home/user \
    && git config --system --add safe.directory '*'
ENV HOME=/home/user \
    USER=user \
    PYTHONUNBUFFERED=1 \
    UV_NO_SYNC=1 \
    UV_PROJECT_ENVIRONMENT=/opt/venv

WORKDIR /project
COPY . .
USER user
STOPSIGNAL SIGINT
ENTRYPOINT ["tini", "-g", "--"]
CMD ["inv", "--list"]
