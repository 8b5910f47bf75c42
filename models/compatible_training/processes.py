"""Where the training loop runs: in this process, or in one process a GPU on a machine that has several.

PyTorch's own elastic launcher, which torchrun is the command of, starts and watches the processes.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from multiprocessing.queues import SimpleQueue

import torch
import torch.distributed
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from models.arrays import Progress
from models.compatible_training.loop import CompatibleTask, run
from models.training import ProcessGroup

_Said = tuple[int, int] | None


def train_on(task: CompatibleTask, device: torch.device, progress: Progress, processes: int | None = None) -> None:
    """Runs the loop; `processes` share every batch, one a GPU where None. Raises what the loop raises.

    On a processor several processes are of use to tests alone.
    """
    if processes is None:
        processes = torch.cuda.device_count() if device.type == "cuda" else 1
    if processes == 1:
        run(task, device, progress)
        return
    context = multiprocessing.get_context("spawn")
    said: SimpleQueue[_Said] = context.SimpleQueue()
    listener = threading.Thread(target=_pass_on, args=(said, progress), daemon=True)
    listener.start()
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=task.fingerprint[:16],
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        start_method="spawn",
    )
    try:
        elastic_launch(config, _member)(task, device.type, said)
    finally:
        said.put(None)
        listener.join()


def _member(task: CompatibleTask, device_type: str, said: SimpleQueue[_Said]) -> None:
    """One of the processes, as the launcher's environment tells it."""
    group = ProcessGroup(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))
    device = torch.device(f"cuda:{os.environ['LOCAL_RANK']}" if device_type == "cuda" else device_type)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")

    def tell(done: int, total: int) -> None:
        if group.rank == 0:
            said.put((done, total))

    try:
        run(task, device, tell, group)
    finally:
        torch.distributed.destroy_process_group()


def _pass_on(said: SimpleQueue[_Said], progress: Progress) -> None:
    while (step := said.get()) is not None:
        progress(*step)
