"""What every test may ask for: settings of its own, and databases and a broker that are the real thing."""

import gc
import os
import pkgutil
import signal
from collections.abc import Generator, Iterator
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import anyio
import hypothesis
import pytest
from hypothesis.internal.conjecture import providers
from hypothesis.internal.constants_ast import Constants

from app.settings import Settings
from app.storage.database import Database
from tests.newest_schema import migrated_postgres, put_sqlite
from tests.reruns import pytest_sessionfinish, pytest_terminal_summary
from tests.s3_server import S3Server, s3_server
from tests.services import MilvusProcess, RedisServer, postgres_database, postgres_server
from tests.waiting import PATIENT

__all__ = ["pytest_sessionfinish", "pytest_terminal_summary"]

# anyio imports parts of itself when they are first used, which may be in a service's thread; pytest rewrites what it
# imports of anyio, and CPython 3.11 cannot parse in two threads at once (python/cpython#106905).
for _part in pkgutil.walk_packages(anyio.__path__, "anyio."):
    if "trio" not in _part.name:
        import_module(_part.name)

# In the background of a script these signals are ignored, and would be in every process that a test starts. A handler
# that does nothing leaves this process as it is, and is no handler any more in the processes that it starts.
for _number in (signal.SIGINT, signal.SIGHUP):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, lambda *_: None)

for _name, _value in PATIENT.items():
    os.environ.setdefault(_name, _value)

# How long an example takes, to be drawn or to be tried, says how busy the machine is, and nothing of what is tested.
# The same examples each time: a change is judged by what it changed; `--hypothesis-profile explore` draws others.
# Numbers and texts that stand in our code are drawn only when exploring: which there are depends on what this process
# happens to have imported by then, and on every line that is changed anywhere.
_untimed = hypothesis.settings(deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.register_profile("same everywhere", _untimed, derandomize=True)
hypothesis.settings.register_profile("explore", _untimed, derandomize=False)
hypothesis.settings.load_profile("same everywhere")
_constants_in_our_code, _none = providers._get_local_constants, providers._local_constants


def _constants_to_draw() -> Constants:
    profile = hypothesis.settings.default
    return _none if profile is not None and profile.derandomize else _constants_in_our_code()


providers._get_local_constants = _constants_to_draw


@pytest.hookimpl(wrapper=True, optionalhook=True)
def pytest_xdist_auto_num_workers() -> Generator[None, int, int]:
    """Two more processes than there are cores: tests that start processes wait for much of their time."""
    cores = yield
    return cores if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ else cores + 2


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is imported and collected stays until the end: it is not looked through for garbage, then or later."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


_LONGEST_FIRST = ("chaos", "crash", "fuzz", "e2e", "workers", "app", "models")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files go to whichever process is free, in this order: a long one that is begun last would be waited for."""
    here = Path(__file__).parent

    def place(item: pytest.Item) -> int:
        folder = item.path.relative_to(here).parts[0]
        return _LONGEST_FIRST.index(folder) if folder in _LONGEST_FIRST else len(_LONGEST_FIRST)

    items.sort(key=place)


_LOGS, _LOG_CHARACTERS = 5, 20_000


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failure shows the ends of what the test's services logged meanwhile: where they ran, nobody may look later."""
    report = yield
    if report.failed:
        folder: Path = item.config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]
        with suppress(OSError):  # what still runs may remove what is about to be read
            written = {path: path.stat().st_mtime for path in folder.rglob("*.log")}
            latest = sorted((path for path in written if written[path] >= call.start), key=written.__getitem__)
            for path in latest[-_LOGS:]:
                text = path.read_text(errors="replace")[-_LOG_CHARACTERS:]
                report.sections.append((f"Logged in {path.relative_to(folder)}", text))
    return report


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """The embedded arrangement in a folder of its own, impatient, but for leases: a slow step keeps its job."""
    return Settings(
        data_dir=tmp_path / "data",
        sweep_seconds=0.2,
        heartbeat_seconds=0.2,
        lease_seconds=600.0,
        step_niceness=0,  # tests wait for steps, while other tests want the processor
    )


@pytest.fixture
def database(settings: Settings) -> Iterator[Database]:
    """SQLite with every table, empty."""
    put_sqlite(settings)
    database = Database(settings.sqlalchemy_url)
    yield database
    database.close()


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """A PostgreSQL server, started when the first test needs it."""
    with postgres_server() as uri:
        yield uri


@pytest.fixture
def postgres_url(postgres: str) -> Iterator[str]:
    """SQLAlchemy URL of an empty PostgreSQL database of the test's own."""
    with postgres_database(postgres) as url:
        yield url


@pytest.fixture(scope="session")
def postgres_template(postgres: str) -> Iterator[str]:
    """The name of a database with every table, empty, for others to be made from."""
    with migrated_postgres(postgres) as name:
        yield name


@pytest.fixture
def migrated_postgres_url(postgres: str, postgres_template: str) -> Iterator[str]:
    """SQLAlchemy URL of a PostgreSQL database of the test's own, with every table, empty."""
    with postgres_database(postgres, postgres_template) as url:
        yield url


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    server = RedisServer()
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="session")
def milvus_installed() -> None:
    """Skips what needs Milvus where it is not installed."""
    if missing := [name for name in ("pymilvus", "milvus_lite") if find_spec(name) is None]:
        pytest.skip(f"indexes in Milvus are not tested: {' and '.join(missing)} not installed")


@pytest.fixture(scope="session")
def milvus(milvus_installed: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MilvusProcess]:
    """A Milvus server, started when the first test needs it; each test has collections of its own."""
    server = MilvusProcess(tmp_path_factory.mktemp("milvus") / "data")
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="session")
def s3() -> Iterator[S3Server]:
    """An S3 server, started when the first test needs it."""
    with s3_server() as server:
        yield server


@pytest.fixture
def storage_url(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a folder in a bucket of the test's own, which this process and those that it starts can reach."""
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    return s3.bucket()


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    return redis_server.url


@pytest.fixture(params=["sqlite", "postgresql"])
def each_settings(request: pytest.FixtureRequest, settings: Settings) -> Settings:
    """The settings twice: on SQLite, and on PostgreSQL, where every table is there."""
    if request.param == "sqlite":
        return settings
    return settings.model_copy(update={"database_url": request.getfixturevalue("migrated_postgres_url")})


@pytest.fixture
def each_database(each_settings: Settings) -> Iterator[Database]:
    """SQLite and PostgreSQL in turn, with every table, empty."""
    if each_settings.database_url is None:
        put_sqlite(each_settings)
    database = Database(each_settings.sqlalchemy_url)
    yield database
    database.close()
