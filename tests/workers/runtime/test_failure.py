"""Which exceptions end a step at once, and what is told of them."""

import sqlite3

import numpy as np
import psycopg
import pyarrow as pa
import pytest
import torch
from sqlalchemy.exc import DisconnectionError, IntegrityError, OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app.problems import NotFound, Unavailable
from app.storage.lance_table import TableGone, VersionGone
from models.portable import CorruptArtifact
from workers.runtime.failure import may_heal, reason_of_data


def _raised_by_torch() -> Exception:
    with pytest.raises(RuntimeError) as caught:
        torch.linalg.cholesky(torch.zeros(2, 2))
    return caught.value


@pytest.mark.parametrize(
    "error",
    [
        ValueError("bad"),
        FloatingPointError("overflow"),
        OverflowError("(34, 'Numerical result out of range')"),
        np.linalg.LinAlgError("Singular matrix"),
        pa.ArrowInvalid("bad"),
        CorruptArtifact("bad"),
        _raised_by_torch(),
    ],
)
def test_what_comes_of_the_data_is_told_in_plain_words(error: Exception) -> None:
    reason = reason_of_data(error)
    assert reason is not None
    assert "Error" not in reason
    assert "\n" not in reason
    assert not may_heal(error)


def test_a_problem_is_told_in_its_own_words() -> None:
    assert reason_of_data(NotFound("There is no gallery 'g'.")) == "There is no gallery 'g'."


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "no space"),
        ConnectionResetError(),
        pa.ArrowIOError("bad"),
        OperationalError("SELECT 1", {}, psycopg.OperationalError("the server closed the connection")),
        DisconnectionError("gone"),
        PoolTimeout("all connections are taken"),
        VersionGone("gone"),
        TableGone("galleries/g/items.lance"),
        ValueError("commit conflict: another writer"),
        OSError("Too many concurrent writers"),
        RuntimeError("Too many concurrent writers"),
        Unavailable("away"),
    ],
)
def test_what_comes_of_the_surroundings_may_heal(error: Exception) -> None:
    assert may_heal(error)
    assert reason_of_data(error) is None


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("?"),
        MemoryError(),
        KeyError("label"),
        IndexError("list index out of range"),
        TypeError("unsupported operand"),
        AttributeError("no such attribute"),
        AssertionError(),
        IntegrityError("INSERT", {}, Exception("twice")),
        OperationalError("SELECT * FROM nothing", {}, sqlite3.OperationalError("no such table: nothing")),
        ProgrammingError("SELEC", {}, psycopg.errors.SyntaxError("syntax error")),
    ],
)
def test_of_anything_else_nothing_is_known(error: Exception) -> None:
    assert not may_heal(error)
    assert reason_of_data(error) is None
