# No CUDA base image: torch has its own CUDA libraries, and the NVIDIA runtime adds the driver's.
FROM base

ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
