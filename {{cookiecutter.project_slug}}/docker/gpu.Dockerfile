# No CUDA image beneath: torch brings its CUDA libraries, the NVIDIA runtime the driver's.
FROM base

ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
