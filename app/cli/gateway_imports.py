"""What gateway processes import, imported once by the process that they are forked from: `app.cli.forking_gateways`.

Each of them then begins in a moment, and what was imported is in memory once. Threads, connections and random numbers
do not outlive a fork in working order: nothing that is imported here may begin any.
"""

import warnings

from app.memory import give_memory_back, rare_collections

give_memory_back()
rare_collections()

import app.main  # noqa: E402, F401  (its objects are not to be looked at for garbage)

rare_collections()
warnings.filterwarnings("ignore", message="lance is not fork-safe")  # it is, before it has begun to work
