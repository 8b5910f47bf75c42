"""Models name their embedders; what was embedded is kept, and what that cost"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0008"
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


def downgrade() -> None:
    op.drop_table("embedding_spending")
    op.drop_table("kept_vectors")
    with op.batch_alter_table("models", schema=None) as batch_op:
        batch_op.drop_column("embedder")
