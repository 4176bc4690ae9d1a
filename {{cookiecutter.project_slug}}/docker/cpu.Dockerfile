FROM base

# Where every container gets the machine's GPUs, this one does without.
ENV NVIDIA_VISIBLE_DEVICES=void
