"""What fork servers of sample steps are forked from: `python -m tests.workers.fork_servers <number of a socket>`."""

import socket
import sys

import tests.workers.sample
import tests.workers.slow  # noqa: F401  # what is imported here need not be by every fork server
from tests.nursery import take_orders

if __name__ == "__main__":
    take_orders(socket.socket(fileno=int(sys.argv[1])))
