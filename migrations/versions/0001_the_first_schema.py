"""The first schema"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "datasets",
        sa.Column("id", sa.String(length=63), nullable=False),
        sa.Column("folder", sa.String(length=80), nullable=False),
        sa.Column("side_dimension", sa.Integer(), nullable=True),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_datasets")),
        sa.UniqueConstraint("folder", name=op.f("uq_datasets_folder")),
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("key", sa.String(length=255), nullable=False),
        sa.Column("operation", sa.String(length=512), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("headers", sa.JSON(), nullable=True),
        sa.Column("body", sa.LargeBinary(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("key", "operation", name=op.f("pk_idempotency_keys")),
    )
    op.create_index(op.f("ix_idempotency_keys_created_at"), "idempotency_keys", ["created_at"], unique=False)
    op.create_table(
        "jobs",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("step", sa.String(length=64), nullable=False),
        sa.Column("subject", sa.String(length=128), nullable=False),
        sa.Column("arguments", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("available_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("lease_token", sa.String(length=32), nullable=True),
        sa.Column("lease_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("cancel_requested", sa.Boolean(), nullable=False),
        sa.Column("progress", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("checkpoint", sa.JSON(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs")),
    )
    op.create_index("ix_jobs_state_available_at", "jobs", ["state", "available_at"], unique=False)
    op.create_index("ix_jobs_state_lease_expires_at", "jobs", ["state", "lease_expires_at"], unique=False)
    op.create_index(op.f("ix_jobs_subject"), "jobs", ["subject"], unique=False)
    op.create_table(
        "models",
        sa.Column("id", sa.String(length=63), nullable=False),
        sa.Column("dimension", sa.Integer(), nullable=False),
        sa.Column("metric", sa.String(length=8), nullable=False),
        sa.Column("modality", sa.String(length=64), nullable=True),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("trained_by", sa.String(length=64), nullable=True),
        sa.Column("compatible_with", sa.String(length=63), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["compatible_with"], ["models.id"], name=op.f("fk_models_compatible_with_models")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_models")),
    )
    op.create_table(
        "galleries",
        sa.Column("id", sa.String(length=63), nullable=False),
        sa.Column("folder", sa.String(length=80), nullable=False),
        sa.Column("model", sa.String(length=63), nullable=False),
        sa.Column("side_dimension", sa.Integer(), nullable=True),
        sa.Column("index_options", sa.JSON(), nullable=False),
        sa.Column("active", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["model"], ["models.id"], name=op.f("fk_galleries_model_models")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_galleries")),
        sa.UniqueConstraint("folder", name=op.f("uq_galleries_folder")),
    )
    op.create_table(
        "upgrades",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("source", sa.String(length=63), nullable=False),
        sa.Column("target", sa.String(length=63), nullable=False),
        sa.Column("request", sa.JSON(), nullable=False),
        sa.Column("galleries", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("learned", sa.JSON(), nullable=True),
        sa.Column("proofs", sa.JSON(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["source"], ["models.id"], name=op.f("fk_upgrades_source_models")),
        sa.ForeignKeyConstraint(["target"], ["models.id"], name=op.f("fk_upgrades_target_models")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_upgrades")),
    )
    op.create_index(op.f("ix_upgrades_source"), "upgrades", ["source"], unique=False)
    op.create_index(op.f("ix_upgrades_state"), "upgrades", ["state"], unique=False)
    op.create_index(op.f("ix_upgrades_target"), "upgrades", ["target"], unique=False)
    op.create_table(
        "generations",
        sa.Column("gallery", sa.String(length=63), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("model", sa.String(length=63), nullable=False),
        sa.Column("parent", sa.Integer(), nullable=True),
        sa.Column("upgrade", sa.String(length=64), nullable=True),
        sa.Column("transformation", sa.String(length=255), nullable=True),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("store_version", sa.Integer(), nullable=True),
        sa.Column("index_name", sa.String(length=64), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ready_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["gallery"], ["galleries.id"], name=op.f("fk_generations_gallery_galleries"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["model"], ["models.id"], name=op.f("fk_generations_model_models")),
        sa.PrimaryKeyConstraint("gallery", "number", name=op.f("pk_generations")),
    )
    op.create_index(
        "uq_generations_gallery_upgrade",
        "generations",
        ["gallery", "upgrade"],
        unique=True,
        sqlite_where=sa.text("upgrade IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_index(
        "uq_generations_gallery_upgrade", table_name="generations", sqlite_where=sa.text("upgrade IS NOT NULL")
    )
    op.drop_table("generations")
    op.drop_index(op.f("ix_upgrades_target"), table_name="upgrades")
    op.drop_index(op.f("ix_upgrades_state"), table_name="upgrades")
    op.drop_index(op.f("ix_upgrades_source"), table_name="upgrades")
    op.drop_table("upgrades")
    op.drop_table("galleries")
    op.drop_table("models")
    op.drop_index(op.f("ix_jobs_subject"), table_name="jobs")
    op.drop_index("ix_jobs_state_lease_expires_at", table_name="jobs")
    op.drop_index("ix_jobs_state_available_at", table_name="jobs")
    op.drop_table("jobs")
    op.drop_index(op.f("ix_idempotency_keys_created_at"), table_name="idempotency_keys")
    op.drop_table("idempotency_keys")
    op.drop_table("datasets")
