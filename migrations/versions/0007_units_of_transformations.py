"""Units of work into which the transformation of a gallery is divided"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "transform_units",
        sa.Column("upgrade", sa.String(length=64), nullable=False),
        sa.Column("gallery", sa.String(length=63), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("slices", sa.JSON(), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("holder", sa.String(length=32), nullable=True),
        sa.Column("pieces", sa.JSON(none_as_null=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["upgrade"],
            ["upgrades.id"],
            name=op.f("fk_transform_units_upgrade_upgrades"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("upgrade", "gallery", "number", name=op.f("pk_transform_units")),
    )


def downgrade() -> None:
    op.drop_table("transform_units")
