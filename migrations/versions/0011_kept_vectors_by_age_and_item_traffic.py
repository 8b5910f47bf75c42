"""Kept vectors are found by their age, items that are found are counted, drops name the folder of their gallery"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(op.f("ix_kept_vectors_created_at"), "kept_vectors", ["created_at"])
    op.create_table(
        "item_traffic",
        sa.Column("gallery", sa.String(length=63), nullable=False),
        sa.Column("row", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("found", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["gallery"], ["galleries.id"], name=op.f("fk_item_traffic_gallery_galleries"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("gallery", "row", name=op.f("pk_item_traffic")),
    )
    _name_folders()


def downgrade() -> None:
    op.drop_table("item_traffic")
    op.drop_index(op.f("ix_kept_vectors_created_at"), table_name="kept_vectors")


def _name_folders() -> None:
    """A target is named by the random end of its gallery's folder: `crosswalk_1234abcd_2` for `faq-1234abcd`."""
    connection = op.get_bind()
    jobs = sa.table("jobs", sa.column("id"), sa.column("step"), sa.column("state"), sa.column("arguments", sa.JSON))
    galleries = sa.table("galleries", sa.column("folder", sa.String))
    waiting = sa.select(jobs.c.id, jobs.c.arguments).where(
        jobs.c.step == "drop_target", jobs.c.state.in_(["queued", "running"])
    )
    for job, arguments in connection.execute(waiting).all():
        if "folder" in arguments:
            continue
        end = arguments["target"]["name"].split("_")[1]
        named = sa.select(galleries.c.folder).where(galleries.c.folder.endswith(f"-{end}", autoescape=True))
        folder = connection.scalar(named) or f"gone-{end}"  # of a gallery that was deleted
        whole = {"folder": folder, "store": arguments["store"], "target": arguments["target"]}
        connection.execute(sa.update(jobs).where(jobs.c.id == job).values(arguments=whole))
