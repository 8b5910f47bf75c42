"""Kept vectors are found by their age"""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(op.f("ix_kept_vectors_created_at"), "kept_vectors", ["created_at"])


def downgrade() -> None:
    op.drop_index(op.f("ix_kept_vectors_created_at"), table_name="kept_vectors")
