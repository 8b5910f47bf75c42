"""Copies vectors as a worker does, in a process that the environment's failpoint kills: URI, table, folder."""

import sys
from pathlib import Path

from app import failpoints
from app.stores.copying import copy_vectors
from app.stores.protocol import Place
from tests.app.stores.crossing import crossing

if __name__ == "__main__":
    failpoints.arm("step")
    uri, table, folder = sys.argv[1:]
    copy_vectors(crossing(uri, Place(table), Path(folder)))
