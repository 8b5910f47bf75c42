"""The socket that the gateway listens on."""

import socket


def listen(host: str, port: int) -> socket.socket:
    """A listening TCP socket whose connections send every answer at once. Raises OSError where the address is taken.

    asyncio turns Nagle's algorithm off only where a socket was made with TCP's protocol number, which
    `socket.create_server` does not give; left on, it holds an answer back until the client's delayed acknowledgement,
    40 ms on every request of a connection that is kept alive. Accepted connections inherit the option.
    """
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    listener = socket.create_server(address, family=family, backlog=2048)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener
