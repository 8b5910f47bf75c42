"""The data directory is where it was said to be, whatever its name holds, and one that cannot be is told plainly."""

from pathlib import Path

import pytest

from app.settings import Settings
from tests.command import run_command
from tests.serving import serving


@pytest.mark.parametrize("name", ["a b", "a%20b", "a?b=c", "a#b", "a:b", "s3:", "100%", "é 世界", "it's", "x" * 200])
def test_everything_lies_in_the_folder_that_was_named(tmp_path: Path, name: str) -> None:
    with serving(Settings(data_dir=tmp_path / name)) as client:
        client.post("/models", json={"id": "m", "dimension": 2, "metric": "cosine"})
        client.post("/galleries", json={"id": "g", "model": "m"})
        item = {"id": "a", "embedding": [1, 0]}
        assert client.put("/galleries/g/items?model=m", json=[item]).status_code == 200
        assert client.get("/search?gallery=g&model=m&vector=1,0").json()["results"][0]["id"] == "a"
    assert [one.name for one in tmp_path.iterdir()] == [name]
    assert (tmp_path / name / "crosswalk.db").is_file()
    assert len(list((tmp_path / name / "galleries").iterdir())) == 1


def test_a_relative_folder_is_taken_from_where_the_service_was_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert Settings(data_dir=Path("s3:x")).galleries_dir == tmp_path / "s3:x" / "galleries"
    assert Settings().data_dir == tmp_path / "crosswalk-data"


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"CROSSWALK_DATA_DIR": "{tmp}/file"}, "Cannot use the data directory {tmp}/file: "),
        ({"CROSSWALK_DATA_DIR": "{tmp}/file/below"}, "Cannot use the data directory {tmp}/file/below: Not a directory"),
        ({"CROSSWALK_DATA_DIR": "{tmp}/" + "x" * 300}, "File name too long"),
        ({"CROSSWALK_DATA_DIR": "/proc/none"}, "Cannot use the data directory /proc/none: "),
        ({"CROSSWALK_DATA_DIR": "{tmp}/d", "CROSSWALK_DATABASE_URL": "nonsense"}, "CROSSWALK_DATABASE_URL is no URL"),
        ({"CROSSWALK_DATA_DIR": "{tmp}/d", "CROSSWALK_LOG_FORMAT": "loud"}, "CROSSWALK_LOG_FORMAT: "),
        (
            {"CROSSWALK_DATA_DIR": "{tmp}/d", "CROSSWALK_CONNECTIONS": "{tmp}/none.toml"},
            "The connections cannot be used: the file of connections {tmp}/none.toml cannot be read",
        ),
    ],
)
def test_what_cannot_be_used_is_told_in_one_line(tmp_path: Path, variables: dict[str, str], told: str) -> None:
    (tmp_path / "file").touch()
    given = {name: value.replace("{tmp}", str(tmp_path)) for name, value in variables.items()}
    done = run_command("migrate", **given)
    assert done.returncode == 1
    assert told.replace("{tmp}", str(tmp_path)) in done.stderr
    assert len(done.stderr.splitlines()) == 1
