"""What gateway processes import, imported once by the process that they are forked from: `app.cli.forking_gateways`.

Each of them then begins in a moment, and what was imported is in memory once. Threads, connections and random numbers
do not outlive a fork in working order: nothing that is imported here may begin any.
"""

import signal
import warnings

# First of all: asked to end together with everyone else, this goes on until all that it forked has ended.
ENDINGS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
signal.pthread_sigmask(signal.SIG_BLOCK, ENDINGS)

from app.memory import give_memory_back, rare_collections  # noqa: E402

give_memory_back()
rare_collections()  # before the rest is imported, and after it

import app.cli.command  # noqa: E402
import app.cli.processes  # noqa: E402
import app.main  # noqa: E402
import app.routes  # noqa: E402

app.routes.make_ready()
rare_collections()
warnings.filterwarnings("ignore", message="lance is not fork-safe")  # it begins its threads when it is first used
