"""Runs the training loop in this process or, on a machine with several GPUs, in one process per GPU.

The processes are started and watched by PyTorch's elastic launcher, the one behind `torchrun`.
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
from models.compatible_training.loop import CompatibleTask, run_compatible
from models.training import ProcessGroup

_Step = tuple[int, int] | None


def train_on(task: CompatibleTask, device: torch.device, progress: Progress, processes: int | None = None) -> None:
    """Runs the training loop in `processes` that share every batch; None means one per GPU.

    On a CPU, more than one process is useful to tests only. Raises what the loop raises.
    """
    if processes is None:
        processes = torch.cuda.device_count() if device.type == "cuda" else 1
    if processes == 1:
        run_compatible(task, device, progress)
        return
    context = multiprocessing.get_context("spawn")
    steps: SimpleQueue[_Step] = context.SimpleQueue()
    listener = threading.Thread(target=_pass_on, args=(steps, progress), daemon=True)
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
        elastic_launch(config, _member)(task, device.type, steps)
    finally:
        steps.put(None)
        listener.join()


def _member(task: CompatibleTask, device_type: str, steps: SimpleQueue[_Step]) -> None:
    """Runs the loop as one of several processes; the launcher's environment variables say which."""
    group = ProcessGroup(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))
    device = torch.device(f"cuda:{os.environ['LOCAL_RANK']}" if device_type == "cuda" else device_type)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")

    def tell(done: int, total: int) -> None:
        if group.rank == 0:
            steps.put((done, total))

    try:
        run_compatible(task, device, tell, group)
    finally:
        torch.distributed.destroy_process_group()


def _pass_on(steps: SimpleQueue[_Step], progress: Progress) -> None:
    while (step := steps.get()) is not None:
        progress(*step)
