"""What the processes of a service share lies in a folder, which goes with the service, however that ends."""

import tempfile
from fcntl import LOCK_EX, flock
from io import TextIOBase
from pathlib import Path

import pytest

from app.cli import forking_gateways
from app.cli.forking_gateways import _shared_folder


def test_a_folder_goes_with_its_service_and_those_of_services_that_were_killed_with_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    killed, serving, other = (tmp_path / name for name in ("crosswalk-processes-1", "crosswalk-processes-2", "other"))
    for folder in (killed, serving, other):
        folder.mkdir()
        (folder / "owned").touch()
    with (serving / "owned").open() as owned:
        flock(owned, LOCK_EX)
        with _shared_folder() as folder:
            assert sorted(tmp_path.iterdir()) == sorted([folder, serving, other])
        assert sorted(tmp_path.iterdir()) == [serving, other]


def test_a_folder_that_is_being_made_is_not_taken_for_one_that_was_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def after_another_has_looked(file: TextIOBase, how: int) -> None:
        monkeypatch.setattr(forking_gateways, "flock", flock)
        forking_gateways._remove_abandoned()
        flock(file, how)

    monkeypatch.setattr(forking_gateways, "flock", after_another_has_looked)
    with _shared_folder() as folder:
        assert (folder / "owned").exists()
