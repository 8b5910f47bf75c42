"""HEAD wherever there is a GET: the same status and headers, without a body, and without the work of making one."""

from anyio import CancelScope
from anyio.lowlevel import checkpoint
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class HeadAsGet:
    """Middleware: has HEAD answered by the route of GET, which is cancelled as soon as it has sent its headers.

    So a stream of events, which may last for hours, ends where its first event would begin.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self.app(scope, receive, send)
            return
        get = {**scope, "method": "GET"}

        async def headers_alone(message: Message) -> None:
            if message["type"] == "http.response.start":
                if "route" in get:  # by which the answer is measured
                    scope["route"] = get["route"]
                await send(message)
                await send({"type": "http.response.body"})
                answered.cancel()
                await checkpoint()  # which ends it here

        with CancelScope() as answered:
            await self.app(get, receive, headers_alone)
