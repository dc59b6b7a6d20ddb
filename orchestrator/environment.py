"""Which environment variables reach the libraries that we use, and which do not.

A shell's variables were set for many purposes: for another Ray cluster, for another project's
MLflow.  Of each variable that a library reads, `RULES` says what a sweep does with it.  The first
rule with a fitting name decides, and a name without a rule is yours.
"""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

#: What happens to a variable.  `ours`: we set it.  `dropped`: a sweep does not see it.  `named`: it
#: acts on trials, and the sweep names it.  `yours`: it is the user's own setting.
Fate = Literal["ours", "dropped", "named", "yours"]


def _fits(name: str, pattern: str) -> bool:
    """As `fnmatchcase`, which compiles each pattern: every command would take 20 ms longer."""
    fixed, star, _ = pattern.partition("*")
    if not star:
        return name == pattern
    return name.startswith(fixed.partition("[")[0]) and fnmatchcase(name, pattern)


@dataclass(frozen=True)
class Rule:
    """What happens to some variables.

    Attributes:
        names: their names, separated by spaces; `*` stands for any text.
        reader: the library that reads them.
        why: for the reference page.
        value: what we set, for the fate `ours`.
    """

    names: str
    reader: str
    fate: Fate
    why: str
    value: str = ""

    def fits(self, name: str) -> bool:
        return any(_fits(name, pattern) for pattern in self.names.split())


RULES = (
    # Ray reads many of them at its import, or in the processes that it starts.
    Rule("RAY_AUTH_MODE", "Ray", "yours", "of a cluster that you join; Ray on this machine always "
         "demands a token, which each sweep makes for itself"),
    Rule("RAY_CLIENT_MODE", "Ray", "ours", "a sweep is no client of another driver", "0"),
    Rule("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "Ray", "ours", "under `uv run`, Ray would copy the "
         "current folder to every worker", "0"),
    Rule("RAY_USAGE_STATS_ENABLED", "Ray", "ours", "nothing is reported to anybody", "0"),
    Rule("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "Ray", "ours", "trials without a GPU see those of "
         "this machine", "0"),
    Rule("RAY_CHDIR_TO_TRIAL_DIR", "Ray", "ours", "relative paths are the driver's", "0"),
    Rule("RAY_AIR_NEW_OUTPUT", "Ray", "ours", "a sweep has its own display", "0"),
    # It prints messages about dead workers on stdout, where our own output goes.
    Rule("RAY_DEDUP_LOGS_SKIP_REGEX", "Ray", "ours", "a sweep has its own display", "."),
    Rule("RAY_TRAIN_COUNT_PREEMPTION_AS_FAILURE", "Ray", "ours", "the trial queue decides what is "
         "tried again", "1"),
    Rule("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "Ray Tune", "ours", "a sweep has its own logs", "1"),
    Rule("TUNE_DISABLE_SIGINT_HANDLER", "Ray Tune", "ours", "a sweep answers signals itself", "1"),
    # A trial that fails before its first epoch reports no metric; that must not end the sweep.
    Rule("TUNE_DISABLE_STRICT_METRIC_CHECKING", "Ray Tune", "ours", "a trial may fail", "1"),
    Rule("TUNE_PRINT_ALL_TRIAL_ERRORS", "Ray Tune", "ours", "a sweep has its own display", "0"),
    Rule("TUNE_GLOBAL_CHECKPOINT_S TUNE_STATE_REFRESH_PERIOD "
         "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S", "Ray Tune", "ours", "Tune keeps no state",
         "1000000"),
    Rule("TUNE_WARN_THRESHOLD_S", "Ray Tune", "ours", "a slow disk is no warning", "60"),
    Rule("TUNE_* RAY_AIR_* RAY_TRAIN_*", "Ray Tune", "dropped", "Tune only places trials"),
    Rule("RAY_[a-z]*", "Ray", "named", "a setting of Ray's core, such as "
         "`RAY_memory_usage_threshold`"),
    Rule("RAY_*", "Ray", "dropped", "they are about a cluster (address, token, TLS, job), and act "
         "with `--address` and `orch submit`; Ray on this machine does not see them"),
    # MLflow: where it writes stands in the sweep file.
    Rule("MLFLOW_TRACKING_USERNAME MLFLOW_TRACKING_PASSWORD MLFLOW_TRACKING_TOKEN "
         "MLFLOW_TRACKING_AUTH MLFLOW_TRACKING_AWS_SIGV4 MLFLOW_TRACKING_INSECURE_TLS "
         "MLFLOW_TRACKING_*_CERT_PATH MLFLOW_WORKSPACE", "MLflow", "yours",
         "how a server knows you"),
    Rule("MLFLOW_HTTP_* MLFLOW_S3_* MLFLOW_BOTO_* MLFLOW_GCS_* MLFLOW_MYSQL_* MLFLOW_MULTIPART_* "
         "MLFLOW_ENABLE_*MULTIPART_* MLFLOW_ARTIFACT_UPLOAD_DOWNLOAD_TIMEOUT "
         "MLFLOW_SQLALCHEMYSTORE_POOL* MLFLOW_FLASK_SERVER_SECRET_KEY", "MLflow", "yours",
         "how a server or a database is reached; `MLFLOW_HTTP_REQUEST_TIMEOUT` is 10 s and "
         "`MLFLOW_HTTP_REQUEST_MAX_RETRIES` 0 unless you set them"),
    Rule("MLFLOW_DISABLE_TELEMETRY", "MLflow", "ours", "nothing is reported to anybody", "true"),
    Rule("MLFLOW_ENABLE_ASYNC_LOGGING", "MLflow", "ours", "a run is complete when we say so",
         "false"),
    Rule("MLFLOW_TRUNCATE_LONG_VALUES", "MLflow", "ours", "one long value must not refuse a run",
         "true"),
    Rule("MLFLOW_SQLALCHEMYSTORE_ECHO MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "MLflow", "ours",
         "a sweep has its own display", "false"),
    Rule("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "MLflow", "ours",
         "stdout is for a command's answer", "true"),
    Rule("MLFLOW_ENABLE_WORKSPACES", "MLflow", "ours", "a sweep's own database has no workspaces",
         "false"),
    # A model needs none of the packages of the folder in which `orch` runs.
    Rule("MLFLOW_UV_AUTO_DETECT", "MLflow", "ours", "a model's requirements are ours", "false"),
    Rule("MLFLOW_ARTIFACT_LOCATION_MAX_LENGTH", "MLflow", "ours", "artifacts are where `--out` is",
         "2048"),
    Rule("MLFLOW_* _MLFLOW_*", "MLflow", "dropped", "where MLflow writes stands in the sweep file "
         "(`tracking.uri`), also where models are registered"),
    Rule("GIT_PYTHON_REFRESH", "MLflow", "ours", "git is not needed", "quiet"),
    Rule("OPTUNA_*", "Optuna", "dropped", "where the study is stands in the sweep file"),
    # Python and the libraries that draw.
    Rule("PYTHONWARNINGS", "Python", "dropped", "a warning of a library must not end a sweep"),
    Rule("MPLBACKEND MATPLOTLIBRC", "matplotlib", "dropped", "figures have one look"),
    # What changes numbers or memory.
    Rule("*_NUM_THREADS", "torch", "ours", "every trial has the threads of `resources.cpu` or "
         "`base.threads`", ""),
    Rule("TORCH_HOME TORCH_EXTENSIONS_DIR TORCH*_CACHE_DIR TRITON_CACHE_DIR", "torch", "yours",
         "where caches are"),
    Rule("KMP_DUPLICATE_LIB_OK KMP_INIT_AT_FORK", "torch", "yours",
         "scikit-learn sets them in every process that imports it; they change no numbers"),
    Rule("CUBLAS_WORKSPACE_CONFIG", "torch", "named", "it may change a trial's numbers and memory; "
         "on a GPU a trial with `deterministic: true` sets it unless you do"),
    Rule("MKL_* OMP_* KMP_* GOMP_* ATEN_* DNNL_* ONEDNN_* OPENBLAS_* BLIS_* CUBLAS_* CUDNN_* "
         "NVIDIA_TF32_OVERRIDE CUDA_LAUNCH_BLOCKING TORCH_* TORCHINDUCTOR_* PYTORCH_* NPY_*",
         "torch", "named", "they may change a trial's numbers, minutes or memory"),
    Rule("PYTHONOPTIMIZE LD_PRELOAD MALLOC_*", "Python", "named",
         "they may change a trial's minutes or memory"),
    Rule("CUDA_VISIBLE_DEVICES", "torch", "yours", "the GPUs of this machine that a sweep uses"),
    Rule("HF_* HUGGINGFACE_* HUGGING_FACE_* TRANSFORMERS_* TOKENIZERS_*", "Hugging Face", "yours",
         "where a pretrained encoder is loaded from; its weights' sha256 is a part of every trial"),
    Rule("ORCH_OUT ORCH_CACHE ORCH_STORE_PATIENCE ORCH_*", "orch", "yours", "the folder of all "
         "sweeps, the folder of the caches, seconds for which an absent store is waited for, and "
         "passwords that a sweep file names"),
    Rule("HTTP_PROXY HTTPS_PROXY ALL_PROXY http_proxy https_proxy all_proxy NO_PROXY no_proxy",
         "all", "yours", "how servers are reached; those on this machine (127.0.0.1, localhost) "
         "are always reached directly"),
    Rule("AWS_* PG*", "all", "yours", "how an object store or PostgreSQL knows you"),
    Rule("HOME TMPDIR MPLCONFIGDIR XDG_*", "all", "yours", "where caches and temporary files are"),
    Rule("PYTHON* PATH LD_LIBRARY_PATH", "Python", "yours", "which Python and which packages run"),
)  # fmt: skip

_HERE = ("127.0.0.1", "localhost", "::1")


def rule_of(name: str) -> Rule | None:
    """The rule of a variable; None if it is not known to act."""
    return next((rule for rule in RULES if rule.fits(name)), None)


def set_ours(reader: str, environment: MutableMapping[str, str] = os.environ) -> None:
    """Set what we decide for a library; call it before the library is used."""
    for rule in RULES:
        if rule.reader.startswith(reader) and rule.value:
            environment.update(dict.fromkeys(rule.names.split(), rule.value))


@contextlib.contextmanager
def without(*readers: str, environment: MutableMapping[str, str] = os.environ) -> Iterator[None]:
    """For a while the variables that these libraries must not see are not there."""
    gone = {
        name: environment.pop(name)
        for name in list(environment)
        if (rule := rule_of(name)) and rule.fate == "dropped" and rule.reader in readers
    }
    try:
        yield
    finally:
        environment.update(gone)


def make_our_own(environment: MutableMapping[str, str] = os.environ) -> None:
    """Clean the environment of a process that is ours alone, as that of the command `orch` is.

    What is about a Ray cluster stays: the command may join one.
    """
    if "PYTHONWARNINGS" in environment:  # Python has read it already
        warnings.resetwarnings()
        warnings.simplefilter("ignore")
    for name in list(environment):
        rule = rule_of(name)
        if rule and rule.fate == "dropped" and rule.reader != "Ray":
            del environment[name]
    reach_this_machine_directly(environment)


def reach_this_machine_directly(environment: MutableMapping[str, str] = os.environ) -> None:
    """No proxy stands between us and the servers of this machine."""
    if not any(name.lower().endswith("_proxy") for name in environment):
        return
    given = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    hosts = dict.fromkeys([*filter(None, given.replace(" ", "").split(",")), *_HERE])
    environment["no_proxy"] = environment["NO_PROXY"] = ",".join(hosts)


def note(environment: Mapping[str, str] = os.environ) -> str:
    """One line that names the variables which act on trials; empty if there are none."""
    names = [name for name in sorted(environment) if (r := rule_of(name)) and r.fate == "named"]
    if not names:
        return ""
    return f"environment: {', '.join(names)} may change numbers, minutes or memory of the trials"
