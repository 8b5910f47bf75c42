"""An upgrade that has ended may name an old model that is no more"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("upgrades", schema=None) as batch_op:
        batch_op.drop_constraint(batch_op.f("fk_upgrades_source_models"), type_="foreignkey")


def downgrade() -> None:
    with op.batch_alter_table("upgrades", schema=None) as batch_op:
        batch_op.create_foreign_key(batch_op.f("fk_upgrades_source_models"), "models", ["source"], ["id"])
