"""The gateway, shared by the tests of a module, as the gateway's own tests have it."""

from tests.app.conftest import each_shared_client

__all__ = ["each_shared_client"]
