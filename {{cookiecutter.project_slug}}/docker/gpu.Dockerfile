# No CUDA base image: its libraries are packages of uv.lock, and the NVIDIA runtime adds the driver's.
FROM base

ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
