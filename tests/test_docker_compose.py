"""What the files for Docker set is what the service reads: a variable that it does not know would be passed over."""

import re
from pathlib import Path

import pytest

from app.settings import Settings

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", ["docker-compose.yml", "docker-compose.storage.yml", "Dockerfile"])
def test_every_variable_that_is_set_is_a_setting(name: str) -> None:
    variables = re.findall(r"\bCROSSWALK_([A-Z_]+)[:=](?!-)", (ROOT / name).read_text())
    assert variables
    assert {variable.lower() for variable in variables} <= Settings.model_fields.keys()
