"""Every setting of the service, read from `CROSSWALK_*` variables (or given to the constructor)."""

from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, PrivateAttr, SecretStr, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from sqlalchemy import URL

from app.rates import Rate

MEMORY_BROKER = "memory://"
DATABASE_CONNECTIONS, DATABASE_SECONDS = 15, 15.0
SHORTEST_ADMIN_KEY = 32


def _split(value: Any) -> Any:
    """A variable's text as a list: names with commas between them."""
    return tuple(filter(None, map(str.strip, value.split(",")))) if isinstance(value, str) else value


Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
"""Several names, in a variable with commas between them."""

IndexDevice = Literal["auto", "cpu", "cuda"]


class Settings(BaseSettings):
    """Where things are kept, what is refused, and how hard the workers try.

    The defaults are the embedded arrangement: everything under `data_dir`, SQLite, an in-memory broker and the
    worker inside the service process. `database_url` and `broker_url` turn it into the distributed one.
    """

    model_config = SettingsConfigDict(env_prefix="CROSSWALK_", extra="ignore", frozen=True, hide_input_in_errors=True)

    data_dir: Annotated[Path, AfterValidator(Path.absolute)] = Field(
        default=Path("crosswalk-data"), validate_default=True, description="Folder of the database, store and indexes."
    )
    storage_url: str | None = Field(
        default=None,
        pattern=r"^s3://[a-z0-9][a-z0-9.-]+[a-z0-9](/[A-Za-z0-9._=-]+)*$",
        description="Where an object store keeps galleries, datasets, indexes and artifacts, like s3://bucket/prefix, "
        "so that several machines share them; credentials, region and endpoint are the usual AWS_* variables. data_dir "
        "then keeps copies. Left out, everything is under data_dir.",
    )
    database_url: str | None = Field(default=None, description="SQLAlchemy URL; left out, SQLite under data_dir.")
    database_connections: int = Field(
        default=DATABASE_CONNECTIONS,
        gt=0,
        description="Most connections to the database that a gateway, or a worker, or a step holds open; a gateway "
        "holds up to three more: one tells searches whether anything was committed, and two read keys and see whether "
        "the database answers, however busy the others are.",
    )
    database_seconds: float = Field(
        default=DATABASE_SECONDS,
        gt=0,
        description="Longest that a request waits for a connection to the database; then it is answered 503.",
    )
    broker_url: str = Field(default=MEMORY_BROKER, description="Celery broker; memory:// runs the worker in-process.")
    connections: Path | None = Field(
        default=None,
        description="File of connections to the users' own stores and embedders, in TOML, a table each; requests name "
        "them, and nothing is asked of any other address. Left out, there are none.",
    )
    backbones: Path | None = Field(
        default=None, description="Folder of local backbones, a folder each; left out, backbones under data_dir."
    )
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="Where learning runs.")

    cors_origins: Names | None = Field(
        default=None,
        description="Origins of web pages that may use everything, like https://app.example.org; * for every page. "
        "Left out, every page may search, and none may change anything.",
    )
    allowed_hosts: Names | None = Field(
        default=None,
        description="Host names that the service is called by, *.example.org and * included. Left out, a service on "
        "loopback takes no name that someone can register, and others take any.",
    )
    trusted_proxies: Names = Field(
        default=("127.0.0.1", "::1"),
        description="Addresses or networks of proxies whose X-Forwarded-Prefix, -Host, -Proto and -For are believed.",
    )
    root_path: str = Field(
        default="",
        pattern=r"^(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*$",
        description="Path under which a proxy shows the service, which the proxy strips, like /crosswalk.",
    )

    disk_reserve_bytes: int = Field(
        default=2**20, ge=0, description="GET /readyz answers 503 while the disk of data_dir has fewer bytes free."
    )

    admin_key: SecretStr | None = Field(
        default=None,
        exclude=True,
        description=f"A key that may do everything, of at least {SHORTEST_ADMIN_KEY} characters; it is stored nowhere.",
    )
    admin_key_file: Path | None = Field(
        default=None, exclude=True, description="A file that holds the admin_key, such as a container's secret."
    )
    key_rate: Rate | None = Field(default=None, description="Rate of keys that have none of their own: 100/second.")
    key_concurrency: int | None = Field(
        default=None, gt=0, description="Most requests at one time of keys that say nothing of it, in one gateway."
    )
    metrics_without_key: bool = Field(default=False, description="Whether /metrics is answered without a key.")

    searches_at_once: int = Field(
        default=64, gt=0, description="Most GET /search that a gateway answers at one time; those of one kind together."
    )
    bulk_searches_at_once: int = Field(
        default=16, gt=0, description="Most POST /search that a gateway receives and answers at one time."
    )
    embeddings_at_once: int = Field(
        default=64, gt=0, description="Most POST /v1/embeddings that a gateway answers at one time."
    )
    writes_at_once: int = Field(
        default=64, gt=0, description="Most requests that change something that a gateway answers at one time."
    )
    reads_at_once: int = Field(
        default=32, gt=0, description="Most other requests that a gateway answers at one time; health is never counted."
    )
    queue_length: int = Field(
        default=256, ge=0, description="Most requests of each of these kinds that wait; one more is answered 429."
    )
    queue_seconds: float = Field(
        default=2.0, gt=0, description="Longest that a request waits for its turn; then it is answered 429."
    )

    body_seconds: float = Field(
        default=60.0,
        gt=0,
        description="Longest that nothing more of a request's body may come; then it is answered 408. How long the "
        "whole of it takes does not matter.",
    )
    upload_limit_bytes: int = Field(default=2**30, gt=0, description="Largest body taken by a bulk upload.")
    upload_rows_limit: int = Field(default=10_000_000, gt=0, description="Most rows in one bulk upload.")
    upload_memory_bytes: int = Field(
        default=768 * 2**20,
        ge=2**26,
        description="Most memory for decoding one bulk upload.",
    )
    upload_decoders: int = Field(default=2, gt=0, description="Bulk uploads decoded at a time, each in its process.")
    json_limit_bytes: int = Field(default=32 * 2**20, gt=0, description="Largest ordinary JSON body.")
    search_k_limit: int = Field(
        default=10_000, gt=0, description="Largest k of a search, and most items in one answer grouped by label."
    )
    search_answer_numbers: int = Field(
        default=10_000_000,
        gt=0,
        description="Most scores, and numbers of vectors that are shown, in the answer to one search request.",
    )
    search_queries_limit: int = Field(default=10_000, gt=0, description="Most queries in one POST /search.")

    search_memory_bytes: int = Field(
        default=2**26, ge=0, description="Most memory for the ids, labels and payloads of items found, kept for later."
    )
    filter_memory_bytes: int = Field(
        default=2**28,
        ge=0,
        description="Most memory for the fields that filters and groups look at, and for what filters let through; a "
        "filter whose fields do not fit reads the items anew each time.",
    )
    space_guard: Literal["refuse", "flag", "off"] = Field(
        default="refuse",
        description="What is done with a batch of vectors that come, beyond doubt, from another model of the same "
        "dimension: refused, stored with a warning, or not looked for.",
    )

    transform_unit_rows: int = Field(
        default=2**17,
        gt=0,
        description="Items that one worker transforms at a time, while others transform others of the same gallery; "
        "a worker that dies loses so many.",
    )
    worker_concurrency: int = Field(default=1, gt=0, description="Steps that one worker runs at a time.")
    step_niceness: int = Field(
        default=5,
        ge=0,
        le=19,
        description="How far steps stand back where others of their machine (or container) want the processor too, as "
        "a gateway beside them does; 0: not at all, 19: so far that they hardly go on there.",
    )
    lease_seconds: float = Field(default=15.0, gt=0, description="A step silent for this long is given to another.")
    heartbeat_seconds: float = Field(default=2.0, gt=0, description="How often a running step renews its lease.")
    sweep_seconds: float = Field(default=2.0, gt=0, description="How often lost doorbells and leases are looked for.")
    leftover_seconds: float = Field(
        default=24 * 3600,
        ge=0,
        description="Leftovers, files that nothing names any more, are removed at start and by a repair once this old.",
    )
    kept_vectors_days: float = Field(
        default=30.0,
        gt=0,
        le=36_500,
        description="For how long an embedder's answer is kept, so that nobody pays for it again; older ones are "
        "removed at start, by a repair, and before something is embedded.",
    )
    job_attempts: int = Field(default=5, gt=0, description="Times a step is tried before its upgrade fails.")

    cost_embedding_seconds: float | None = Field(
        default=None, ge=0, description="Seconds to embed an item with a new model, for the advice; unknown: not said."
    )
    cost_embedding_price: float | None = Field(default=None, ge=0, description="Price of embedding an item.")
    cost_compute_price: float | None = Field(default=None, ge=0, description="Price of an hour of computing.")
    cost_storage_price: float | None = Field(default=None, ge=0, description="Price of writing 10⁹ bytes.")

    evaluation_gallery_limit: int = Field(default=100_000, gt=0, description="Gallery rows a proof samples at most.")
    evaluation_memory_bytes: int = Field(
        default=2_000_000_000, gt=0, description="Most memory for one gallery's vectors in a proof; larger are sampled."
    )
    index_exact_rows: int = Field(
        default=5_000, gt=0, description="Galleries up to this size are searched exactly, unless they say otherwise."
    )
    index_graph_rows: int = Field(
        default=2_000_000,
        gt=0,
        description="Larger galleries up to this size get an HNSW graph, and above it an inverted file of quantised "
        "vectors, where that is measured to be faster than comparing with every item.",
    )
    index_recall: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="Share of the true 10 nearest that an index is tuned to find; left out, 0.99 up to a million items "
        "and 0.95 above.",
    )
    index_engine: Literal["faiss", "milvus"] = Field(
        default="faiss", description="What keeps the indexes: FAISS, in files under data_dir, or a Milvus server."
    )
    index_device: IndexDevice = Field(
        default="auto",
        description="Where workers build FAISS's inverted files: cuda is on NVIDIA GPUs, which takes faiss-gpu; auto, "
        "there where FAISS sees one. Graphs are built, and everything is searched, by the processor.",
    )
    milvus_uri: str | None = Field(
        default=None,
        pattern=r"^https?://[^@\s]+$",
        description="Where Milvus is, like http://milvus:19530, or http://milvus:19530/database; no user and no "
        "password, which are the token.",
    )
    milvus_token: SecretStr | None = Field(default=None, exclude=True, description="Milvus's token, or user:password.")
    milvus_prefix: str = Field(
        default="crosswalk",
        pattern=r"^[A-Za-z][A-Za-z0-9_]{0,31}$",
        description="What the names of collections and aliases begin with. Services on one Milvus have one each.",
    )
    milvus_timeout_seconds: float = Field(default=10.0, gt=0, description="Longest wait for one answer of Milvus.")
    cascade_overlap: float = Field(
        default=0.99, gt=0, le=1, description="Share of the rewritten gallery's top 10 that a cascade is to find."
    )
    cascade_limit: int = Field(
        default=1_000, gt=10, description="Most candidates that a cascade re-ranks for 10 answers."
    )
    cascade_memory_bytes: int = Field(
        default=2**28,
        ge=0,
        description="Most memory for the transformed rows of one cascade, kept for later queries. Where the "
        "crossing is not linear, it is filled beside searches from the first one on; 0 keeps none.",
    )
    reranked_candidates: int = Field(
        default=50, gt=0, le=10_000, description="Candidates that route `reranked` ranks by their real vectors."
    )
    reranked_items_per_minute: int = Field(
        default=1_200,
        gt=0,
        description="Most items that one gateway has embedded for `reranked` in a minute; a search that needs more is "
        "answered by the route that proposed its candidates.",
    )
    reranked_seconds: float = Field(
        default=2.0, gt=0, description="Longest that `reranked` waits for an embedder; then likewise."
    )
    reranked_at_once: int = Field(
        default=16,
        gt=0,
        description="Most searches that wait for embedders at one time; one more likewise.",
    )
    reranked_text: str = Field(
        default="text", min_length=1, description="The field of payloads whose text `reranked` has embedded."
    )
    traffic_seconds: float = Field(
        default=30.0,
        ge=0,
        description="How often a gateway writes down which items its searches found, for the order `traffic` of "
        "backfills; 0: never.",
    )
    log_format: Literal["console", "json"] = Field(default="console", description="How log lines are written.")

    _artifacts_copy: Path | None = PrivateAttr(default=None)

    @model_validator(mode="after")
    def _engine_can_be_used(self) -> Self:
        if self.index_engine == "milvus" and self.milvus_uri is None:
            raise ValueError("index_engine is milvus, so milvus_uri must say where Milvus is")
        if self.milvus_uri is not None and find_spec("pymilvus") is None:
            raise ValueError("milvus_uri is set, but pymilvus is not installed: pip install '.[milvus]'")
        return self

    def admin_secret(self) -> str | None:
        """The key of `admin_key` or `admin_key_file`; None where neither is set.

        Raises ValueError where it is too short or cannot be sent in a header, and OSError where there is no such file.
        """
        if self.admin_key is not None:
            key = self.admin_key.get_secret_value()
        elif self.admin_key_file is not None:
            key = self.admin_key_file.read_text().strip()
        else:
            return None
        if len(key) < SHORTEST_ADMIN_KEY or not all("!" <= character <= "~" for character in key):
            raise ValueError(
                f"the admin key must be at least {SHORTEST_ADMIN_KEY} visible ASCII characters without spaces; "
                "`openssl rand -hex 32` makes one"
            )
        return key

    @property
    def embedded(self) -> bool:
        """Whether the worker lives inside the service process."""
        return self.broker_url.startswith(MEMORY_BROKER)

    @cached_property
    def sqlalchemy_url(self) -> str:
        """Where the database is; what a folder's name means in a URL, such as `%20` or `?`, is escaped."""
        file = URL.create("sqlite", database=str(self.database_file.resolve()))
        return self.database_url or file.render_as_string(hide_password=False)

    @property
    def database_file(self) -> Path:
        """Where the SQLite database is, unless `database_url` names another."""
        return self.data_dir / "crosswalk.db"

    @property
    def galleries_dir(self) -> Path:
        return self.data_dir / "galleries"

    @property
    def datasets_dir(self) -> Path:
        return self.data_dir / "datasets"

    @property
    def artifacts_dir(self) -> Path:
        return self._artifacts_copy or self.data_dir / "artifacts"

    @property
    def working_dir(self) -> Path:
        """Where the steps of workers have artifacts of their own, a folder each, while an object store keeps them."""
        return self.data_dir / "working"

    def with_artifacts_in(self, folder: Path) -> "Settings":
        """These settings for one step, which reads and writes artifacts in a folder of its own."""
        copy = self.model_copy()
        copy._artifacts_copy = folder
        return copy

    @property
    def backbones_dir(self) -> Path:
        return self.backbones or self.data_dir / "backbones"

    @property
    def spaces_dir(self) -> Path:
        return self.data_dir / "spaces"

    @property
    def uploads_dir(self) -> Path:
        return self.data_dir / "uploads"

    @property
    def downloads_dir(self) -> Path:
        """Where files that were made to be downloaded are kept for a while, a folder for each upgrade."""
        return self.data_dir / "downloads"
