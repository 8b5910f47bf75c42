"""What runs in the guarded process: limits itself, then decodes one body. `guard` starts it."""

import gc
import os
import resource
import sys
from pathlib import Path

from app.problems import Problem
from app.uploads.decoding import decode
from app.uploads.decoding_order import DecodingAnswer, Order
from app.uploads.expected_columns import UploadLimits

_GRACE_SECONDS = 5
_FRAMING_BYTES = 64 * 2**20


def main() -> None:
    gc.disable()  # parsing makes millions of containers and no cycles: looking for them takes most of the time
    order = Order.from_json(sys.stdin.read())
    body = Path(order.body)
    limit(order.limits, body.stat().st_size)
    try:
        rows = decode(body, order.media_type, order.expected, order.limits, Path(order.into))
        answer = DecodingAnswer(rows=rows.count)
    except Problem as problem:
        answer = DecodingAnswer.of(problem)
    sys.stdout.write(answer.to_json())
    sys.stdout.flush()
    os._exit(0)  # taking apart all that is imported takes longer than to decode a small body


def limit(limits: UploadLimits, body_bytes: int) -> None:
    """Bounds this process for good: address space (where the kernel counts it), processor time, file size, no core."""
    seconds = limits.seconds(body_bytes)
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + _GRACE_SECONDS))
    written = limits.decoded_bytes + _FRAMING_BYTES
    resource.setrlimit(resource.RLIMIT_FSIZE, (written, written))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":  # macOS takes the limit and ignores it
        imported = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        mapped = body_bytes  # an Arrow stream is mapped, which is address space and no memory
        space = imported + mapped + limits.memory_bytes
        resource.setrlimit(resource.RLIMIT_AS, (space, space))


if __name__ == "__main__":
    main()
