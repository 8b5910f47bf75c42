"""The commands and their options; what they do is in the modules beside this one."""

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Literal

import typer

from app.cli import resources
from app.cli.authorization import take_key_file
from app.cli.ending import described
from app.cli.gate import METRIC, REQUIREMENT, GateMetric, Require
from app.cli.keys import keys
from app.memory import rare_collections

DataDir = Annotated[
    Path | None,
    typer.Option(
        help="Folder of the database, store and indexes. [default: $CROSSWALK_DATA_DIR, or crosswalk-data]",
        file_okay=False,
        show_default=False,
    ),
]

Artifact = Annotated[
    Path, typer.Argument(help="A model that was trained here: its zip file, or the folder of it.", exists=True)
]

commands = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
commands.callback()(take_key_file)


@commands.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port to listen on; 0 takes any that is free.")] = 8000,
    data_dir: DataDir = None,
    processes: Annotated[
        int, typer.Option(min=1, max=256, help="Gateway processes that share the port; one that dies is started again.")
    ] = 1,
    until_stdin_closes: Annotated[
        bool,
        typer.Option("--until-stdin-closes", help="Stop when standard input ends, as when its pipe's holder is gone."),
    ] = False,
) -> None:
    """Serves the HTTP interface; in the embedded arrangement (no broker set) the worker too."""
    with ExitStack() as stack:
        shared = None
        if processes > 1:
            from app.cli.forking_gateways import begun_to_import

            shared = stack.enter_context(begun_to_import())
        from app.cli.service import serve, stop_when_stdin_closes

        if until_stdin_closes:
            stop_when_stdin_closes()
        serve(host, port, data_dir, processes, shared)


@commands.command()
def worker(data_dir: DataDir = None) -> None:
    """Works for a service that shares this one's database, broker and data."""
    from app.cli.service import work

    work(data_dir)


@commands.command()
def migrate(data_dir: DataDir = None) -> None:
    """Brings the database to the newest schema. `serve` and `worker` do so too when they start."""
    from app.cli.service import migrate

    migrate(data_dir)


@commands.command()
def backup(
    folder: Annotated[Path, typer.Argument(help="A folder that does not exist yet.")], data_dir: DataDir = None
) -> None:
    """Copies database and data directory, consistently, while the service runs or stands still."""
    from app.cli.backups import take

    take(folder, data_dir)


@commands.command()
def restore(
    folder: Annotated[Path, typer.Argument(help="A folder that `backup` wrote.", exists=True, file_okay=False)],
    data_dir: DataDir = None,
    only_check: Annotated[
        bool, typer.Option("--check", help="Only compare every file of the backup with its checksum.")
    ] = False,
) -> None:
    """Makes a data directory, and fills the database, from a backup: nothing that is there is overwritten."""
    from app.cli.backups import bring_back

    bring_back(folder, data_dir, only_check=only_check)


@commands.command()
def verify(
    repair: Annotated[
        bool,
        typer.Option("--repair", help="Remove what belongs to nothing, and make anew what is derived from the rest."),
    ] = False,
    data_dir: DataDir = None,
) -> None:
    """Compares database, store, indexes and artifacts, and every file with its checksum; a line for each finding.

    Also while the service runs. Status 1 where something is wrong, or stays wrong; 2 where there is nothing to verify.
    """
    from app.cli.maintenance import verify

    verify(data_dir, repair=repair)


@commands.command()
def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave the service up at the end, until Ctrl+C.")] = False,
    port: Annotated[int | None, typer.Option(min=1, max=65_535, help="Port of its service; any free one.")] = None,
    pgvector: Annotated[
        bool, typer.Option("--pgvector", help="Upgrade a table in a PostgreSQL of the demonstration's own.")
    ] = False,
) -> None:
    """Drives a whole upgrade over HTTP, on real data and a service of its own, and prints what was gained."""
    if pgvector:
        from app.demo.in_store import run_in_store

        raise typer.Exit(run_in_store(keep=keep, port=port))
    from app.demo.run import run

    raise typer.Exit(run(keep=keep, port=port))


@commands.command()
def local(
    old: Annotated[
        Path,
        typer.Argument(
            help="Parquet of the gallery: `id`, `embedding` by the old model, `label`?, `side_information`?",
            exists=True,
            dir_okay=False,
        ),
    ],
    sample: Annotated[
        Path,
        typer.Argument(
            help="Parquet of some of its items: `id`, `embedding` by the new model.", exists=True, dir_okay=False
        ),
    ],
    out: Annotated[Path, typer.Option(help="The folder to write to.", file_okay=False)] = Path("crosswalk-local"),
    queries: Annotated[
        Path | None,
        typer.Option(
            help="Parquet of judged queries: `id`, `relevant`, `embedding.old`, `embedding.new`.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    metric: Annotated[Literal["cosine", "l2", "ip"], typer.Option(help="How old vectors are compared.")] = "cosine",
    new_metric: Annotated[
        Literal["cosine", "l2", "ip"] | None,
        typer.Option(help="How new ones are. [default: as the old]", show_default=False),
    ] = None,
    method: Annotated[
        Literal["auto", "orthogonal", "ridge", "low_rank", "kernel_ridge", "residual_mlp", "fct"],
        typer.Option(help="How the crossing is learned."),
    ] = "auto",
    gate_metric: GateMetric = METRIC,
    require: Require = REQUIREMENT,
    as_json: Annotated[bool, typer.Option("--json", help="Print what came of it as JSON.")] = False,
) -> None:
    """Learns, proves and applies a crossing from files alone, without a service.

    Writes report.html and report.json, and, where it is accepted, transformed.parquet and crossing.safetensors. Status
    0: the gate accepted it; 3: it did not; 2: the files or options are wrong; 1: anything else.
    """
    from app.cli.local import run_local

    run_local(old, sample, queries, out, (metric, new_metric or metric), method, gate_metric, require, as_json=as_json)


@commands.command()
def embed(
    artifact: Artifact,
    files: Annotated[
        list[Path],
        typer.Argument(
            help="Image files and folders of them; or one .parquet or .arrow with `id` and `image` or `text`, one .txt "
            "with a text a line, or one .jsonl with `id` and `text`. `label` and `payload` are carried along.",
            exists=True,
        ),
    ],
    out: Annotated[Path, typer.Option(help="The Parquet file to write: `id` and `embedding`.", dir_okay=False)],
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Where to compute.")] = "auto",
    batch: Annotated[int, typer.Option(min=1, help="Rows computed at a time.")] = 256,
    workers: Annotated[int, typer.Option(min=0, help="Processes that decode images beside this one.")] = 0,
) -> None:
    """Embeds images or texts with a trained model; `crosswalk galleries put` takes the file as it is."""
    from app.cli.embed import embed

    embed(artifact, files, out, device, batch, workers)


@commands.command()
def export(
    artifact: Artifact, out: Annotated[Path, typer.Argument(help="The ONNX file to write.", dir_okay=False)]
) -> None:
    """Writes a trained model as ONNX, after checking that it computes what PyTorch does."""
    from app.cli.embed import export

    export(artifact, out)


@commands.command()
def apply(
    artifact: Annotated[
        Path,
        typer.Argument(help="What `crosswalk upgrades artifact` wrote: a crossing.", exists=True, dir_okay=False),
    ],
    vectors: Annotated[
        Path,
        typer.Argument(
            help="A Parquet file with a column `embedding.<model>`, or `embedding`; others are carried along.",
            exists=True,
            dir_okay=False,
        ),
    ],
    out: Annotated[Path, typer.Argument(help="The Parquet file to write.", dir_okay=False)],
    made_by: Annotated[
        str | None, typer.Option(help="The model that made the vectors, where the file does not say.")
    ] = None,
    push: Annotated[
        bool, typer.Option("--push", help="The vectors are queries of the new model, for an index of old vectors.")
    ] = False,
    column: Annotated[str | None, typer.Option(help="The column of the vectors.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
) -> None:
    """Takes a file of old vectors into the new model's space, or new queries to an old index, without a service."""
    from app.cli.apply import apply_crossing

    apply_crossing(artifact, vectors, out, made_by, column, push=push, force=force)


def main() -> None:
    """The entry point that the package installs."""
    rare_collections()
    commands.add_typer(keys, name="keys")
    resources.register(commands)
    try:
        commands()
    except OSError as error:  # Such as output that cannot be written; what a command itself expects, it says.
        sys.exit(f"{described(error)}.")
    except Exception as error:
        from app.cli.faults import fault_line

        if (line := fault_line(error)) is None:
            raise
        sys.exit(line)
