# The images of this project, for `inv docker.build`. Each variable is set by the environment
# variable of its name, also in .env.

# The image that all build on. A mirror: HOST/python:…, a fixed one: python:…@sha256:…
variable "BASE_IMAGE" {
  default = "{{ cookiecutter.__images }}python:{{ cookiecutter.python_version }}-slim-trixie"
}

# Where the CPU image takes torch from: "cpu" is PyTorch's own index of CPU builds, an address that
# of a mirror of it, and "locked" (or nothing) the build that uv.lock names, CUDA included.
variable "TORCH_INDEX" {
  default = "cpu"
}

# Behind a company's proxy: a package index instead of the public one, its credentials included,
# and a file of certificates to trust. Both are build secrets, which no layer keeps.
variable "PACKAGE_INDEX" {
  default = ""
}
variable "CA_CERTIFICATES" {
  default = "{{ cookiecutter.__ca_file }}"
}
variable "HTTP_PROXY" {
  default = null
}
variable "HTTPS_PROXY" {
  default = null
}
variable "NO_PROXY" {
  default = null
}

# What the images are called: a registry and namespace, as in registry.example.com/team, and a tag.
variable "REGISTRY" {
  default = ""
}
variable "TAG" {
  default = "latest"
}

# Found out by `inv docker.build`, and the same for the same content: no commit and no date, which
# would make another image of it. `inv docker.push` tags with the commit.
variable "AUTHORS" {
  default = ""
}
variable "DESCRIPTION" {
  default = ""
}
# The extras of pyproject.toml, spaces between: the DVC remote's client, the backend of Keras. Those
# of the devcontainer, which no task builds, are written here.
variable "EXTRAS" {
  default = "{{ ({'local': '', 'gcs': 'gs'}.get(cookiecutter.dvc_remote, cookiecutter.dvc_remote) ~ ' ' ~ cookiecutter.__backend) | trim }}"
}
variable "GPU_EXTRAS" { # the same, the backend with CUDA
  default = EXTRAS
}
variable "LICENSES" {
  default = ""
}
variable "LOCK" {
  default = ""
}
variable "SOURCE" {
  default = ""
}
variable "VERSION" {
  default = ""
}

function "image" {
  params = [name]
  result = "${REGISTRY == "" ? "" : "${REGISTRY}/"}{{ cookiecutter.project_slug }}-${name}:${TAG}"
}

group "all" {
  targets = ["cpu", "gpu", "serve", "web"]
}

target "_common" {
  args = {
    BASE_IMAGE  = BASE_IMAGE
    HTTP_PROXY  = HTTP_PROXY
    HTTPS_PROXY = HTTPS_PROXY
    NO_PROXY    = NO_PROXY
  }
  labels = { # one that nothing is known for is left out
    "org.opencontainers.image.title"       = "{{ cookiecutter.project_slug }}"
    "org.opencontainers.image.authors"     = AUTHORS == "" ? null : AUTHORS
    "org.opencontainers.image.description" = DESCRIPTION == "" ? null : DESCRIPTION
    "org.opencontainers.image.licenses"    = LICENSES == "" ? null : LICENSES
    "org.opencontainers.image.source"      = SOURCE == "" ? null : SOURCE
    "org.opencontainers.image.version"     = VERSION == "" ? null : VERSION
    "uv.lock.sha256"                       = LOCK == "" ? null : LOCK
  }
  secret = concat(
    contains(["cpu", "locked", ""], TORCH_INDEX) ? [] : ["id=torch_index,env=TORCH_INDEX"],
    PACKAGE_INDEX == "" ? [] : ["id=package_index,env=PACKAGE_INDEX"],
    CA_CERTIFICATES == "" ? [] : ["id=ca_certificates,src=${CA_CERTIFICATES}"],
  )
}

target "_uv" {
  inherits   = ["_common"]
  dockerfile = "docker/base.Dockerfile"
  target     = "uv"
}

target "_base" {
  inherits   = ["_common"]
  dockerfile = "docker/base.Dockerfile"
  args       = { EXTRAS = GPU_EXTRAS }
}

target "_base-cpu" {
  inherits = ["_base"]
  args = {
    EXTRAS = EXTRAS
    TORCH  = contains(["locked", ""], TORCH_INDEX) ? "locked" : "cpu"
  }
}

target "cpu" {
  inherits   = ["_common"]
  dockerfile = "docker/cpu.Dockerfile"
  contexts   = { base = "target:_base-cpu" }
  labels     = { "uv.extras" = EXTRAS == "" ? null : EXTRAS }
  tags       = [image("cpu")]
}

target "gpu" {
  inherits   = ["_common"]
  dockerfile = "docker/gpu.Dockerfile"
  contexts   = { base = "target:_base" }
  labels     = { "uv.extras" = GPU_EXTRAS == "" ? null : GPU_EXTRAS }
  tags       = [image("gpu")]
}

target "_serving" {
  inherits   = ["_common"]
  dockerfile = "docker/serve.Dockerfile"
  contexts   = { uv = "target:_uv" }
}

target "serve" {
  inherits = ["_serving"]
  target   = "serve"
  args     = { GROUP = "serve" }
  tags     = [image("serve")]
}

target "serve-gpu" { # larger by 2 GB, and so not part of `all`
  inherits = ["_serving"]
  target   = "serve-gpu"
  args     = { GROUP = "serve-gpu" }
  tags     = [image("serve-gpu")]
}

target "web" {
  inherits = ["_serving"]
  target   = "web"
  args     = { GROUP = "web" }
  tags     = [image("web")]
}
