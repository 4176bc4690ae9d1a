"""Refuse an answer from which no working project can be made, before any file is written.

Each check returns nothing, or the one line that says what is wrong and what to type instead.
Only the standard library; no network, no prompts, no Git.
"""

from __future__ import annotations

import builtins
import json
import keyword
import os
import re
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path

# shadowed names: begin (written by inv lock)
SHADOWED = """
_argon2_cffi_bindings _cffi_backend _distutils_hack _pytest _ruamel_yaml _xxhash _yaml absl
absl_py adlfs aiobotocore aiofiles aiohappyeyeballs aiohttp aiohttp_retry aioitertools aiosignal
alembic amqp annotated_doc annotated_types antlr4 antlr4_python3_runtime anyio appdirs appnope
argcomplete argon2 argon2_cffi argon2_cffi_bindings arro3 arro3_core arro3_io arrow ast_serialize
asttokens astunparse async_lru asyncssh atpublic attr attrs azure azure_core azure_identity
azure_storage_blob babel bcrypt beautifulsoup4 billiard bleach botocore bottle bs4
c787785866c7b801238d__mypyc celery certifi cffi cfgv charset_normalizer chex clang click
click_didyoumean click_plugins click_repl cloudpickle colorama colorlog comm configobj contourpy
coreweave_evaluations cryptography cuda cuda_bindings cuda_pathfinder cuda_toolkit cwevals cycler
dataclasses_json dateutil debugpy decorator defusedxml deptry detect_secrets dictdiffer diskcache
distlib distro dm_pix docker docker_stubs dotenv dpath dulwich dvc dvc_azure dvc_data dvc_gs
dvc_http dvc_objects dvc_render dvc_s3 dvc_ssh dvc_studio_client dvc_task dvc_webdav einops
entrypoints equinox etils examples executing fastapi fastapi_offline fastjsonschema filelock
flatbuffers flatten_dict flax flaxlib_src flufl flufl_lock fonttools fqdn frozenlist fsspec
functorch funcy gast gcsfs git gitdb gitpython google google_api_core google_auth
google_auth_oauthlib google_cloud_core google_cloud_storage google_cloud_storage_control
google_crc32c google_pasta google_resumable_media googleapis_common_protos grandalf grimp grpc
grpc_google_iam_v1 grpc_status grpcio grpcio_status gto h11 h5py hf_xet httpcore httpcore2
httptools httpx httpx2 huggingface_hub humanize hydra hydra_core identify idna images
import_linter importlinter iniconfig invoke ipykernel ipykernel_launcher ipython
ipython_pygments_lexers isodate isoduration isympy iterative_telemetry jax jax2onnx
jax_cuda12_pjrt jax_cuda12_plugin jaxlib jaxtyping jedi jinja2 jmespath joblib json5 jsonpointer
jsonpointer_stubs jsonschema jsonschema_specifications jupyter jupyter_builder jupyter_client
jupyter_core jupyter_events jupyter_lsp jupyter_server jupyter_server_terminals jupyterlab
jupyterlab_pygments jupyterlab_server jwt keras kiwisolver knack kombu lark libclang librt
lightgbm lightning lightning_fabric lightning_utilities mako markdown_it markdown_it_py markupsafe
marshmallow matplotlib matplotlib_inline mdurl mistune ml_dtypes mpl_toolkits mpmath msal
msal_extensions msgpack msgspec multidict mypy mypy_extensions mypyc namex narwhals nbclient
nbconvert nbdime nbformat nbstripout nest_asyncio nest_asyncio2 netron networkx nodeenv
notebook_shim numpy nvidia nvidia_cublas nvidia_cublas_cu12 nvidia_cuda_cccl nvidia_cuda_cccl_cu12
nvidia_cuda_cupti nvidia_cuda_cupti_cu12 nvidia_cuda_nvcc_cu12 nvidia_cuda_nvrtc
nvidia_cuda_nvrtc_cu12 nvidia_cuda_runtime nvidia_cuda_runtime_cu12 nvidia_cudnn_cu12
nvidia_cudnn_cu13 nvidia_cufft nvidia_cufft_cu12 nvidia_cufile nvidia_curand nvidia_curand_cu12
nvidia_cusolver nvidia_cusolver_cu12 nvidia_cusparse nvidia_cusparse_cu12 nvidia_cusparselt_cu13
nvidia_nccl_cu12 nvidia_nccl_cu13 nvidia_nvjitlink nvidia_nvjitlink_cu12 nvidia_nvshmem_cu12
nvidia_nvshmem_cu13 nvidia_nvtx oauthlib obstore omegaconf onnx onnx_ir onnxmltools onnxruntime
onnxruntime_gpu onnxscript opentelemetry opentelemetry_api opentelemetry_exporter_http_transport
opentelemetry_exporter_otlp_common opentelemetry_exporter_otlp_proto_common
opentelemetry_exporter_otlp_proto_http opentelemetry_proto opentelemetry_sdk
opentelemetry_semantic_conventions opt_einsum optax optree optuna optuna_dashboard orbax
orbax_checkpoint orbax_export orjson overrides packaging pandocfilters parso pasta pathspec
pexpect pil pillow platformdirs pluggy pre_commit pre_commit_hooks prometheus_client
prompt_toolkit propcache proto proto_plus protobuf psutil ptyprocess public pure_eval py pyasn1
pyasn1_modules pycparser pydantic pydantic_core pydantic_settings pydevd_plugins pydot pygit2
pygments pygtrie pyjwt pylab pyparsing pytest python_dateutil python_discovery python_dotenv
python_json_logger pythonjsonlogger pytorch_lightning pywin32 pywinpty pyyaml pyzmq referencing
requests requests_oauthlib requests_stubs requirements requirements_parser rfc3339_validator
rfc3986_validator rfc3987_syntax rich rpds rpds_py ruamel ruamel_yaml ruamel_yaml_clib ruff s3fs
scikit_learn scipy scmrepo semver send2trash setuptools shortuuid shtab simplejson six skl2onnx
sklearn smmap sniffio soupsieve sqlalchemy sqltrie sshfs stack_data starlette submitit sympy
tabulate tensorflow tensorstore termcolor terminado tests tf2onnx threadpoolctl tinycss2 tlz tomli
tomlkit tools toolz torch torchgen torchmetrics tornado tqdm traitlets treescope triton truststore
types_docker types_requests typing_extensions typing_inspect typing_inspection tzdata tzlocal
uri_template urllib3 uvicorn uvloop validate vine virtualenv voluptuous wadler_lindig wandb
wcwidth webcolors webdav4 webencodings websocket websocket_client wheel wrapt wrapt_stubs xgboost
xxhash yaml yarl zc zc_lockfile zipp zmq
""".split()
# shadowed names: end

# The project's own folders and files, and what .gitignore leaves out: a package of that name
# would fall together with it (on some systems whatever the case).
OWN = """
artifacts build cache checkpoints conf config contributing data deploy dist docker dockerfile docs
dvc env hydra_plugins lib license logs makefile mlruns models multirun notebooks outputs params
profile readme reports runs scripts serving site src storage tasks tests venv wandb workflow
""".split()
# Words that tools around Python take for their own.
TOOLS = "cookiecutter cruft distutils pip pkg_resources test uv wheel".split()
# YAML reads these as something other than text.
YAML_WORDS = "false n no none null off on true y yes".split()
# In the standard library, or keywords, of a supported Python newer than the one that runs this.
NEWER = "annotationlib compression tomllib type".split()
# Folders cannot have these names on Windows.
DEVICES = [
    "aux",
    "con",
    "nul",
    "prn",
    *(f"{port}{n}" for port in ("com", "lpt") for n in range(10)),
]

LONGEST = {
    "project_name": 100,
    "project_slug": 40,
    "package_name": 40,
    "description": 200,
    "author": 100,
    "email": 254,
    "dvc_remote_url": 500,
    "wandb_entity": 128,
}
MAY_BE_EMPTY = {"wandb_entity"}

# Invisible characters that make text read otherwise than it is, and two that YAML forbids.
TRICKY = set(
    "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff\ufffe\uffff"
)

SCHEMES = {
    "s3": ("s3",),
    "gcs": ("gs",),
    "azure": ("azure",),
    "ssh": ("ssh",),
    "webdav": ("webdavs", "webdav"),
}
EXAMPLES = {
    "local": "../my-storage",
    "s3": "s3://my-bucket/dvc",
    "gcs": "gs://my-bucket/dvc",
    "azure": "azure://my-container/dvc",
    "ssh": "ssh://me@server.example.com/srv/dvc",
    "webdav": "webdavs://me@dav.example.com/dvc",
}
BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
HOST = re.compile(
    r"([A-Za-z0-9._~!$&*+=-]+@)?([A-Za-z0-9][A-Za-z0-9._-]*|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?"
)


def shown(value: str) -> str:
    """The value on one line, whatever is in it, and not all of it where it is long."""
    return repr(value if len(value) <= 60 else value[:57] + "...")


def taken(name: str) -> str | None:
    """What a name already means to Python, to the tools or to the project."""
    module = name.replace("-", "_")
    if keyword.iskeyword(module) or keyword.issoftkeyword(module):
        return "a Python keyword"
    if module in sys.stdlib_module_names or module in NEWER:
        return "part of Python's standard library"
    if hasattr(builtins, module):
        return "built into Python"
    if module in OWN:
        return "one of the project's own folders or files"
    return taken_anywhere(name)


def taken_anywhere(name: str) -> str | None:
    """What neither the package nor the distribution may be called."""
    if name.replace("_", "-") in SHADOWED or name.replace("-", "_") in SHADOWED:
        return "a package that the project depends on"
    if name.replace("-", "_") in TOOLS:
        return "a tool that the project is used with"
    if name in YAML_WORDS:
        return "a word that YAML reads as something else"
    if name in DEVICES:
        return "a device on Windows"
    return None


def check_text(name: str, value: str) -> str | None:
    """Any text answer: its length, and characters that no file may hold."""
    if not value:
        return None if name in MAY_BE_EMPTY else f"{name} is empty: type at least one character"
    if value != value.strip():
        return f"{name} {shown(value)} starts or ends with a space: type it without"
    if len(value) > LONGEST[name]:
        return (
            f"{name} {shown(value)} has {len(value)} characters: type {LONGEST[name]} at the most"
        )
    for character in value:
        if unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") or character in TRICKY:
            return (
                f"{name} holds the control character U+{ord(character):04X}: "
                "type plain text on one line"
            )
    return None


def check_slug(slug: str) -> str | None:
    """The folder and distribution name."""
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", slug):
        better = re.sub(r"[^a-z0-9]+", "-", slug.lower()).lstrip("-0123456789").rstrip("-")
        return (
            f"project_slug {shown(slug)} is not a name for a folder and a distribution: type "
            "lower-case letters, digits and single hyphens, starting with a letter, "
            f"such as {better or 'my-ml-project'}"
        )
    if reason := taken_anywhere(slug):
        return f"project_slug {shown(slug)} is {reason}: type another name, such as {slug}-ml"
    return None


def check_package(package: str) -> str | None:
    """The package's name."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*", package):
        better = re.sub(r"[^a-z0-9]+", "_", package.lower()).lstrip("_0123456789").rstrip("_")
        return (
            f"package_name {shown(package)} is no package name: type lower-case letters, "
            "digits and underscores, starting with a letter, "
            f"such as {better or 'my_ml_project'}"
        )
    if reason := taken(package):
        return f"package_name {shown(package)} is {reason}: type another name, such as {package}_ml"
    return None


def check_email(email: str) -> str | None:
    """An e-mail address, in the form that every file and tool takes as it is."""
    if re.fullmatch(r"[A-Za-z0-9.!#&'*+/=?^_~-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+", email):
        return None
    return f"email {shown(email)} is no e-mail address: type one such as you@example.com"


def check_entity(entity: str) -> str | None:
    """A W&B team or user."""
    if not entity or re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", entity):
        return None
    return (
        f"wandb_entity {shown(entity)} is no W&B team or user: type its letters, digits, hyphens, "
        "underscores and dots only, or nothing"
    )


def check_folder(url: str) -> str | None:
    """A local DVC remote: outside of the project, and writable as it is in .dvc/config."""
    drive = re.match(r"[A-Za-z]:[/\\]", url)
    if "://" in url or re.match(r"[\w.-]+@[\w.-]+:", url):
        return "is no local folder: type a path such as ../my-storage, or choose another dvc_remote"
    if "%(" in url:
        return "holds %(, which DVC's config file reads as a reference: type another folder"
    if re.search(r'[<>"|?*]', url) or ":" in (url[2:] if drive else url):
        return 'holds one of < > " | ? * : that not every system allows: type another folder'
    if url.startswith("//"):
        return "starts with two slashes: type one"
    if "\\" in url and not drive and not url.startswith("\\\\"):
        return "has backslashes: type a path with forward slashes, such as ../my-storage"
    if (drive or url.startswith("\\\\")) and os.name != "nt":
        return None  # where that is is not known here
    # This hook runs in the folder that is to hold the project.
    project = Path.cwd().resolve()
    folder = Path(url)
    if url == "~" or url.startswith("~/"):
        folder = folder.expanduser()
    folder = folder.resolve()
    if folder == project or project in folder.parents:
        return "lies inside the project: type a folder outside of it, such as ../my-storage"
    return None


def check_address(kind: str, url: str) -> str | None:
    """A DVC remote on a server: scheme, bucket or host, and nothing that a file would garble."""
    example = EXAMPLES[kind]
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in SCHEMES[kind]:
        return f"does not start with {SCHEMES[kind][0]}://: type one such as {example}"
    if not re.fullmatch(r"[^\s\"'`<>|\\^,;?#]*", rest) or "%(" in rest:
        return f"holds a space, a quote or another special character: type one such as {example}"
    place, _, path = rest.partition("/")
    if kind in ("s3", "gcs", "azure") and not BUCKET.fullmatch(place):
        noun = "container" if kind == "azure" else "bucket"
        return f"names no {noun} after {scheme}://: type one such as {example}"
    if kind in ("ssh", "webdav") and not HOST.fullmatch(place):
        return f"names no server after {scheme}://: type one such as {example}"
    if kind == "ssh" and not path:
        return f"names no folder on the server: type one such as {example}"
    return None


def check_secret(kind: str, url: str) -> str | None:
    """A secret must not reach a tracked file, nor a log: the line does not repeat the address."""
    userinfo = re.search(r"://(.*)@", url)
    if (
        (userinfo and (":" in userinfo[1] or kind in ("s3", "gcs", "azure")))
        or ("://" in url and "?" in url)
        or re.search(r"(key|password|secret|sig|signature|token)=", url, re.IGNORECASE)
    ):
        return (
            "dvc_remote_url holds a password, a key or a token: type it without, such as "
            f"{EXAMPLES[kind]}, and keep the secret in .dvc/config.local"
        )
    return None


def check_remote(kind: str, url: str) -> str | None:
    """The DVC remote's address."""
    problem = check_folder(url) if kind == "local" else check_address(kind, url)
    return f"dvc_remote_url {shown(url)} {problem}" if problem else None


def problems(answers: dict[str, str]) -> Iterator[str | None]:
    """Every check in the order of the questions."""
    # cookiecutter.json gives the folder a safe name until the one that was typed has passed.
    answers = {**answers, "project_slug": answers["__typed_slug"]}
    yield check_secret(answers["dvc_remote"], answers["dvc_remote_url"])
    for name in LONGEST:
        yield check_text(name, answers[name])
        if name == "project_slug":
            yield check_slug(answers[name])
        elif name == "package_name":
            yield check_package(answers[name])
        elif name == "email":
            yield check_email(answers[name])
        elif name == "dvc_remote_url":
            yield check_remote(answers["dvc_remote"], answers[name])
        elif name == "wandb_entity":
            yield check_entity(answers[name])


def main() -> None:
    """Run in the empty folder that cookiecutter made, and removes again if this fails."""
    # As hex, no answer can end the string that it is passed in.
    answers = json.loads(bytes.fromhex("{{ (cookiecutter | jsonify).encode().hex() }}"))
    for problem in problems(answers):
        if problem:
            sys.exit(problem)


if __name__ == "__main__":
    main()
