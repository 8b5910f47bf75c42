"""Every setting of the service, read from `CROSSWALK_*` variables (or given to the constructor)."""

from functools import cached_property
from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

MEMORY_BROKER = "memory://"
DATABASE_CONNECTIONS = 15


class Settings(BaseSettings):
    """Where things are kept, what is refused, and how hard the workers try.

    The defaults are the embedded arrangement: everything under `data_dir`, SQLite, an in-memory broker and the
    worker inside the service process. `database_url` and `broker_url` turn it into the distributed one.
    """

    model_config = SettingsConfigDict(env_prefix="CROSSWALK_", extra="ignore", frozen=True)

    data_dir: Path = Field(default=Path("crosswalk-data"), description="Folder of the database, store and indexes.")
    database_url: str | None = Field(default=None, description="SQLAlchemy URL; left out, SQLite under data_dir.")
    database_connections: int = Field(
        default=DATABASE_CONNECTIONS,
        gt=0,
        description="Most connections to the database that a gateway, or a worker, or a step holds open.",
    )
    broker_url: str = Field(default=MEMORY_BROKER, description="Celery broker; memory:// runs the worker in-process.")
    backbones: Path | None = Field(
        default=None, description="Folder of local backbones, a folder each; left out, backbones under data_dir."
    )
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="Where learning runs.")

    upload_limit_bytes: int = Field(default=2**30, gt=0, description="Largest body taken by a bulk upload.")
    upload_rows_limit: int = Field(default=10_000_000, gt=0, description="Most rows in one bulk upload.")
    json_limit_bytes: int = Field(default=32 * 2**20, gt=0, description="Largest ordinary JSON body.")
    search_k_limit: int = Field(default=1_000, gt=0, description="Largest k of a search.")
    search_queries_limit: int = Field(default=10_000, gt=0, description="Most queries in one POST /search.")

    space_guard: Literal["refuse", "flag", "off"] = Field(
        default="refuse",
        description="What is done with a batch of vectors that come, beyond doubt, from another model of the same "
        "dimension: refused, stored with a warning, or not looked for.",
    )

    worker_concurrency: int = Field(default=1, gt=0, description="Steps that one worker runs at a time.")
    lease_seconds: float = Field(default=15.0, gt=0, description="A step silent for this long is given to another.")
    heartbeat_seconds: float = Field(default=2.0, gt=0, description="How often a running step renews its lease.")
    sweep_seconds: float = Field(default=2.0, gt=0, description="How often lost doorbells and leases are looked for.")
    job_attempts: int = Field(default=5, gt=0, description="Times a step is tried before its upgrade fails.")

    cost_embedding_seconds: float | None = Field(
        default=None, ge=0, description="Seconds to embed an item with a new model, for the advice; unknown: not said."
    )
    cost_embedding_price: float | None = Field(default=None, ge=0, description="Price of embedding an item.")
    cost_compute_price: float | None = Field(default=None, ge=0, description="Price of an hour of computing.")
    cost_storage_price: float | None = Field(default=None, ge=0, description="Price of writing 10⁹ bytes.")

    evaluation_gallery_limit: int = Field(default=100_000, gt=0, description="Gallery rows a proof samples at most.")
    index_exact_rows: int = Field(default=200_000, gt=0, description="Galleries up to this size are searched exactly.")
    cascade_overlap: float = Field(
        default=0.99, gt=0, le=1, description="Share of the rewritten gallery's top 10 that a cascade is to find."
    )
    cascade_limit: int = Field(
        default=1_000, gt=10, description="Most candidates that a cascade re-ranks for 10 answers."
    )
    cascade_memory_bytes: int = Field(
        default=2**28, ge=0, description="Most memory for the transformed rows of one cascade, kept for later queries."
    )
    log_format: Literal["console", "json"] = Field(default="console", description="How log lines are written.")

    @property
    def embedded(self) -> bool:
        """Whether the worker lives inside the service process."""
        return self.broker_url.startswith(MEMORY_BROKER)

    @cached_property
    def sqlalchemy_url(self) -> str:
        return self.database_url or f"sqlite:///{(self.data_dir / 'crosswalk.db').resolve()}"

    @property
    def galleries_dir(self) -> Path:
        return self.data_dir / "galleries"

    @property
    def datasets_dir(self) -> Path:
        return self.data_dir / "datasets"

    @property
    def artifacts_dir(self) -> Path:
        return self.data_dir / "artifacts"

    @property
    def backbones_dir(self) -> Path:
        return self.backbones or self.data_dir / "backbones"

    @property
    def spaces_dir(self) -> Path:
        return self.data_dir / "spaces"

    @property
    def uploads_dir(self) -> Path:
        return self.data_dir / "uploads"
