# What answers requests: `serve`, the service of a model, `serve-gpu`, the same on a GPU, and `web`,
# the web application before such services. Nothing of training.
ARG BASE_IMAGE

FROM uv AS environment
# GROUP: the dependency group of pyproject.toml that is installed, and nothing else.
ARG GROUP
RUN --mount=type=bind,source=docker,target=/docker \
    --mount=type=bind,source=pyproject.toml,target=/project/pyproject.toml \
    --mount=type=bind,source=uv.lock,target=/project/uv.lock \
    --mount=type=cache,target=/root/.cache \
    --mount=type=secret,id=package_index \
    --mount=type=secret,id=ca_certificates \
    --mount=type=tmpfs,target=/tmp \
    sh /docker/with-secrets.sh sh /docker/install-environment.sh locked --only-group "${GROUP}"
# What no service loads, a quarter of it: of onnxruntime also the library for programs in C.
RUN cd /opt/venv/lib/python3*/site-packages \
    && find . \( -type d -name tests -o -name '*.pyi' \) -prune -exec rm -r {} + \
    && rm -rf numpy/distutils numpy/f2py onnxruntime/capi/libonnxruntime.so.* \
        onnxruntime/quantization onnxruntime/tools onnxruntime/transformers

FROM ${BASE_IMAGE} AS code

COPY --from=environment /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:${PATH} \
    PYTHONUNBUFFERED=1

WORKDIR /service
COPY conf/serving conf/serving
COPY workflow/__init__.py workflow/errors.py workflow/formats.py workflow/signature.py workflow/
COPY workflow/serving workflow/serving
RUN python -m compileall -q . && useradd --uid 1000 --no-create-home user
USER 1000
EXPOSE 8000
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s CMD ["python", "-c", \
    "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/v2/health/live', timeout=2)"]

FROM code AS serve
ENV MODEL_FILE=/models/model.onnx
CMD ["python", "-m", "workflow.serving.service", "--address", "0.0.0.0", "--port", "8000"]

# CUDA and cuDNN are packages of uv.lock, and the NVIDIA runtime adds the driver's libraries.
FROM serve AS serve-gpu
ENV SERVING_PROVIDER=cuda \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility

FROM code AS web
CMD ["python", "-m", "workflow.serving.web", "--address", "0.0.0.0", "--port", "8000"]
