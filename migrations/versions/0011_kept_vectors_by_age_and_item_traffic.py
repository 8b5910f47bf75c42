"""Kept vectors are found by their age; how often items were found is counted"""

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


def downgrade() -> None:
    op.drop_table("item_traffic")
    op.drop_index(op.f("ix_kept_vectors_created_at"), table_name="kept_vectors")
