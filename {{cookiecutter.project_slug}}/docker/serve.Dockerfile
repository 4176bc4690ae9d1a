# What answers requests: onnxruntime, the model server and the service's code; nothing of training.
ARG BASE_IMAGE

FROM uv AS environment
RUN --mount=type=bind,source=docker,target=/docker \
    --mount=type=bind,source=pyproject.toml,target=/project/pyproject.toml \
    --mount=type=bind,source=uv.lock,target=/project/uv.lock \
    --mount=type=cache,target=/root/.cache \
    --mount=type=secret,id=package_index \
    --mount=type=secret,id=ca_certificates \
    --mount=type=tmpfs,target=/tmp \
    sh /docker/with-secrets.sh sh /docker/install-environment.sh locked --only-group serve

FROM ${BASE_IMAGE}

COPY --from=environment /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:${PATH} \
    PYTHONUNBUFFERED=1 \
    MODEL_FILE=/models/model.onnx

WORKDIR /service
COPY conf/serving conf/serving
COPY {{ cookiecutter.package_name }}/__init__.py {{ cookiecutter.package_name }}/
COPY {{ cookiecutter.package_name }}/serving {{ cookiecutter.package_name }}/serving
RUN python -m compileall -q . && useradd --uid 1000 --no-create-home user
USER 1000
EXPOSE 8000
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s CMD ["python", "-c", \
    "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/', timeout=2)"]
CMD ["python", "-m", "{{ cookiecutter.package_name }}.serving.service", "--address", "0.0.0.0", "--port", "8000"]
