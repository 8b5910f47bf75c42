"""What roles may do with a table, given to them on what is made beside it."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from psycopg import Connection, errors, sql

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


def own_like(connection: Connection[Any], oid: int, name: sql.Identifier) -> None:
    """Gives something to whoever owns a table, who may then change and drop both. It stays the maker's where the role
    has not the owner's rights, or the owner may make nothing in the schema."""
    owner = connection.execute(
        "SELECT quote_ident(r.rolname) FROM pg_class c JOIN pg_roles r ON r.oid = c.relowner "
        "WHERE c.oid = $1 AND r.rolname <> current_user AND pg_has_role(r.oid, 'USAGE')",
        (oid,),
    ).fetchone()
    if owner is None:
        return
    with suppress(errors.InsufficientPrivilege), connection.transaction():
        connection.execute(sql.SQL("ALTER TABLE {} OWNER TO {}").format(name, sql.SQL(owner[0])))
