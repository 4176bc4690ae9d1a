"""The project's images: building them, and running what `inv` runs in a container."""
