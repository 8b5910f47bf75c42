"""Upgrades that are accepted as fused with the old model's queries"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("upgrades", schema=None) as batch_op:
        batch_op.add_column(sa.Column("served_as", sa.String(length=16), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("upgrades", schema=None) as batch_op:
        batch_op.drop_column("served_as")
