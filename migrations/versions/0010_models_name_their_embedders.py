"""Models name their embedders; what was embedded is kept, and what that cost; backfills are run"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("models", schema=None) as batch_op:
        batch_op.add_column(sa.Column("embedder", sa.JSON(none_as_null=True), nullable=True))
    op.create_table(
        "kept_vectors",
        sa.Column("key", sa.LargeBinary(length=32), nullable=False),
        sa.Column("vector", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_kept_vectors")),
    )
    op.create_table(
        "embedding_spending",
        sa.Column("subject", sa.String(length=128), nullable=False),
        sa.Column("items", sa.Integer(), nullable=False),
        sa.Column("tokens", sa.BigInteger(), nullable=False),
        sa.Column("money", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("subject", name=op.f("pk_embedding_spending")),
    )
    op.create_table(
        "backfill_runs",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("gallery", sa.String(length=63), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("request", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["gallery"], ["galleries.id"], name=op.f("fk_backfill_runs_gallery_galleries"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_backfill_runs")),
    )
    op.create_index(op.f("ix_backfill_runs_gallery"), "backfill_runs", ["gallery"])


def downgrade() -> None:
    op.drop_index(op.f("ix_backfill_runs_gallery"), table_name="backfill_runs")
    op.drop_table("backfill_runs")
    op.drop_table("embedding_spending")
    op.drop_table("kept_vectors")
    with op.batch_alter_table("models", schema=None) as batch_op:
        batch_op.drop_column("embedder")
