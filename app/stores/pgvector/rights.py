"""What roles may do with a table, given to them on what is made beside it."""

from collections.abc import Sequence
from typing import Any

from psycopg import Connection, sql

Grant = tuple[str, str, bool]
"""A right, to whom in SQL, and whether that one may grant it on."""

_GRANTS = """
SELECT a.privilege_type, coalesce(quote_ident(r.rolname), 'PUBLIC'), a.is_grantable
FROM pg_class c, aclexplode(c.relacl) a LEFT JOIN pg_roles r ON r.oid = a.grantee
WHERE c.oid = $1 AND a.grantee <> c.relowner AND (a.grantee = 0 OR r.rolname IS NOT NULL)
"""


def grants_on(connection: Connection[Any], oid: int) -> list[Grant]:
    """Of a table or view, to others than its owner."""
    return connection.execute(_GRANTS, (oid,)).fetchall()


def grant_like(
    connection: Connection[Any], grants: Sequence[Grant], name: sql.Identifier, rights: Sequence[str]
) -> None:
    """Gives those of these rights that are among the grants, on something else."""
    for right, grantee, grantable in grants:
        if right in rights:
            more = " WITH GRANT OPTION" if grantable else ""
            connection.execute(sql.SQL("GRANT {} ON {} TO {}").format(sql.SQL(right), name, sql.SQL(grantee + more)))
