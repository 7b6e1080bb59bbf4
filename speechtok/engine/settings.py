"""What a tokenization job is asked to do, and what it tells while and after doing it."""

from __future__ import annotations

import hashlib
import math
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, Self

from speechtok.errors import DatasetError
from speechtok.redaction import is_secret, redact_all, without_credentials
from speechtok.shards.layout import is_split
from speechtok.shards.plan import Plan
from speechtok.utterances import CORPUS_FORMATS

_CHOICES: dict[str, tuple[str | None, ...]] = {
    "channels": ("mean", "first", "error"),
    "dtype": ("float32", "float64"),
    "segment": (None, "vad", "silence", "fixed"),
    "corpus_format": (None, *CORPUS_FORMATS),
}


@dataclass(frozen=True, kw_only=True)
class JobSettings:
    """Everything that decides the rows of a dataset, apart from the corpus and the tokenizer itself.

    A dataset is only ever continued with the settings it was begun with.
    """

    split: str = "train"
    """Split of utterances whose corpus names none."""
    shard_seconds: float | None = None
    """Seconds of audio per shard; None chooses from the corpus: an hour, less for small corpora."""
    file_mb: float = 512.0
    """Size of the files of the dataset, in MiB, as near as whole shards come."""
    batch_seconds: float = 20.0
    """Utterances are encoded together up to this many seconds."""
    chunk_seconds: float = 60.0
    """Longer recordings are read and encoded in pieces of this length, with the same codes."""
    segment: Literal["vad", "silence", "fixed"] | None = None
    """How longer utterances become several: where somebody speaks, cut at quiet moments or evenly; None leaves them."""
    max_segment_seconds: float = 20.0
    """Utterances longer than this are segmented, and no segment is longer."""
    channels: Literal["mean", "first", "error"] = "mean"
    """How recordings of several channels become one: average, first channel, or quarantine."""
    num_codebooks: int | None = None
    """Keep only the first codebooks; None keeps all."""
    dtype: Literal["float32", "float64"] = "float32"
    """Float type of all computation."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Names a manifest uses, by the name they have here, such as {"audio": "path"}."""
    corpus_format: str | None = None
    """Format of the corpus, one of `speechtok.utterances.CORPUS_FORMATS`; None looks what it is."""
    limit: int | None = None
    """Take only this many utterances, the first of the corpus, before any is segmented; None takes all."""
    sample: float | None = None
    """Take only this share of the utterances, above 0 and up to 1, drawn by the hash of their ids: always the same ones, of which a
    smaller share takes some; None takes all."""

    def __post_init__(self) -> None:
        for name in ("shard_seconds", "file_mb", "batch_seconds", "chunk_seconds"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"`{name}` must be more than 0, got {value}.")
        for name, known in _CHOICES.items():
            if getattr(self, name) not in known:
                listed = ", ".join(value for value in known if value)
                raise ValueError(f"`{name}` must be one of {listed}, got '{getattr(self, name)}'.")
        if not self.max_segment_seconds >= 1:
            raise ValueError(f"`max_segment_seconds` must be at least 1, got {self.max_segment_seconds}.")
        if not is_split(self.split):
            raise ValueError(
                f"`split` may hold letters, digits, underscores and single dots, got {self.split!r}."
            )
        if self.num_codebooks is not None and self.num_codebooks < 1:
            raise ValueError(f"`num_codebooks` must be at least 1, got {self.num_codebooks}.")
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"`limit` must be at least 1, got {self.limit}.")
        if self.sample is not None and not 0 < self.sample <= 1:
            raise ValueError(f"`sample` must be above 0 and up to 1, got {self.sample}.")

    def is_taken(self, name: str) -> bool:
        """Return whether the utterance of an id belongs to the sample."""
        if self.sample is None:
            return True
        digest = hashlib.blake2b(name.encode(errors="surrogatepass"), digest_size=8).digest()
        return int.from_bytes(digest) < self.sample * (1 << 64)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return {**asdict(self), "columns": dict(self.columns)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Return what `to_dict` gave; settings that only an older version knew are left out."""
        known = {item.name for item in fields(cls)}
        return cls(**{name: value for name, value in values.items() if name in known})


def frozen_settings(plan: Plan) -> JobSettings:
    """Return the settings that a dataset was begun with.

    Raises:
        DatasetError: when its plan states some that no job has.
    """
    try:
        settings = JobSettings.from_dict(plan.settings.get("job", {}))
        for name in ("file_mb", "batch_seconds", "chunk_seconds", "max_segment_seconds"):
            float(getattr(settings, name))
    except (TypeError, ValueError, OverflowError) as error:
        raise DatasetError(
            f"The plan beside {plan.file} is none that speechtok makes: it states settings that no job has ({error})."
        ) from error
    return settings


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """Where and how a job runs. Nothing here changes a row, and each run of a job may choose anew."""

    device: str = "cpu"
    """Where workers run the tokenizer, such as "cuda"."""
    executor: Literal["local", "ray"] | None = None
    """"local" for processes of this machine, or "ray"; None takes Ray where `ray_address` names a cluster, and else this machine."""
    workers: int | None = None
    """Most workers; None takes as many as there is room for, and follows a cluster as it grows and shrinks. Without Ray, one
    worker is this process itself."""
    ray_address: str | None = None
    """A running Ray cluster; None with `executor="ray"` starts Ray on this machine for the run."""
    cpus_per_worker: float = 1.0
    """CPUs each worker takes; with an accelerator, all but one of them read recordings."""
    gpus_per_worker: float | None = None
    """GPUs each worker takes, fractions allowed; None takes one where the device is a GPU."""
    runtime_env: Mapping[str, Any] | None = None
    """What Ray prepares on each node of a cluster before a worker starts there, see Ray's `runtime_env`. A variable
    that is None takes the value it has here."""
    max_errors: int | str | None = None
    """Quarantined inputs after which the job gives up: a number, or a share such as "1%"; None never does."""
    timeout_seconds: float = 300.0
    """How long reading one recording, or one piece of a long one, may take before it is quarantined."""
    memory_mb: int = 2048
    """Memory that decoding may take, in MiB, before the recording is quarantined."""

    def __post_init__(self) -> None:
        if self.executor not in ("local", "ray", None):
            raise ValueError(f"`executor` must be 'local' or 'ray', got '{self.executor}'.")
        if self.executor == "local" and self.ray_address is not None:
            raise ValueError("`ray_address` goes with `executor` 'ray', not with 'local'.")
        for name in ("workers", "cpus_per_worker", "timeout_seconds", "memory_mb"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"`{name}` must be more than 0, got {value}.")
        if self.gpus_per_worker is not None and self.gpus_per_worker < 0:
            raise ValueError(f"`gpus_per_worker` must be at least 0, got {self.gpus_per_worker}.")
        self.errors_allowed(0)
        self.ray_environment()

    @property
    def is_on_ray(self) -> bool:
        """Whether Ray runs the job."""
        return self.executor == "ray" or self.ray_address is not None

    @property
    def is_on_gpu(self) -> bool:
        """Whether workers use an accelerator."""
        return not self.device.startswith("cpu")

    @property
    def gpus(self) -> float:
        """GPUs each worker takes."""
        if self.gpus_per_worker is not None:
            return self.gpus_per_worker
        return 1.0 if self.device.startswith("cuda") else 0.0

    @property
    def readers(self) -> int:
        """Processes that read for each worker: they share its CPU, unless an accelerator leaves it idle."""
        return max(1, math.ceil(self.cpus_per_worker) - 1) if self.is_on_gpu else 1

    def errors_allowed(self, utterances: int) -> int | None:
        """Return how many of `utterances` may fail, or None for all.

        Raises:
            ValueError: when `max_errors` is neither a number nor a share.
        """
        if self.max_errors is None:
            return None
        found = re.fullmatch(r"(\d+)|(\d+(?:\.\d+)?)\s*%", str(self.max_errors))
        if not found or (found[2] and float(found[2]) > 100):
            raise ValueError(
                f"`max_errors` must be a number of inputs or a share such as '1%', got {self.max_errors!r}."
            )
        return int(found[1]) if found[1] else int(utterances * float(found[2]) / 100)

    def ray_environment(self) -> tuple[dict[str, Any], dict[str, str]]:
        """Return `runtime_env` as Ray may know it, which logs it, and variables with secrets, which it may not.

        Raises:
            ValueError: when a variable without a value has none here, or something else holds credentials.
        """
        told = dict(self.runtime_env or {})
        variables = told.pop("env_vars", None) or {}
        if not isinstance(variables, Mapping):
            raise ValueError("`runtime_env` needs a mapping of names to values as its `env_vars`.")
        variables = dict(variables)
        for name, value in told.items():
            if without_credentials(text := str(value)) != text:
                raise ValueError(
                    f"`runtime_env` holds credentials in '{name}', which Ray would write to its logs; "
                    "give them in the environment of the nodes."
                )
        for name, value in variables.items():
            if value is None and name not in os.environ:
                raise ValueError(
                    f"`runtime_env` takes {name} from the environment, where it is not set; set it."
                )
            variables[name] = os.environ[name] if value is None else value
        secrets = {
            name: str(value)
            for name, value in variables.items()
            if is_secret(name) or without_credentials(str(value)) != value
        }
        plain = {name: value for name, value in variables.items() if name not in secrets}
        return told | ({"env_vars": plain} if plain else {}), secrets

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON; of variables the names alone."""
        values: dict[str, Any] = asdict(self)
        if self.runtime_env and "env_vars" in self.runtime_env:
            values["runtime_env"]["env_vars"] = sorted(self.runtime_env["env_vars"] or ())
        return dict(redact_all(values))


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """What a job has done."""

    shards: int
    """Shards of the dataset."""
    shards_made: int
    """Shards this run made; 0 when the dataset was complete already."""
    files: int
    """Files they were joined to."""
    rows: int
    """Token rows of the dataset."""
    quarantined: int
    """Inputs that failed."""
    seconds: float
    """Seconds of audio in the dataset."""
    seconds_made: float
    """Seconds of audio this run tokenized."""
    bytes: int
    """Size of the files with tokens."""
    start_seconds: float
    """How long it took until the first worker was up."""
    wall_seconds: float
    """From then until the last shard was committed."""
    reasons: Mapping[str, int]
    """Quarantined inputs by type of error."""
