"""The application as a whole."""

import asyncio

import httpx

from app.main import create_app
from app.settings import Settings


def test_an_application_is_opened_closed_and_opened_again(settings: Settings) -> None:
    application = create_app(settings)

    async def serve_once() -> str:
        transport = httpx.ASGITransport(application)
        async with (
            application.router.lifespan_context(application),
            httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client,
        ):
            assert (await client.get("/models")).status_code == 200
            return (await client.get("/metrics")).text

    for _ in range(2):
        assert "crosswalk_foreign_streams" in asyncio.run(serve_once())
