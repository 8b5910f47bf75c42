"""An upgrade may name a model that is no more"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("upgrades", schema=None) as batch_op:
        batch_op.drop_constraint(batch_op.f("fk_upgrades_target_models"), type_="foreignkey")


def downgrade() -> None:
    with op.batch_alter_table("upgrades", schema=None) as batch_op:
        batch_op.create_foreign_key(batch_op.f("fk_upgrades_target_models"), "models", ["target"], ["id"])
