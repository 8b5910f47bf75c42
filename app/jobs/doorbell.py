"""The doorbell: tells workers that there may be work. It may be lost, or ring twice: the truth is in SQL.

A ring is a broadcast. Every worker hears it and looks for a job to claim; nothing of it is kept in the broker, so that
no backlog of rings builds up while all workers are busy or none is there.
"""

import structlog
from celery import Celery
from kombu import Exchange
from kombu.common import Broadcast

from app.failpoints import Failpoint, reached
from app.settings import Settings

DOORBELL = "crosswalk.doorbell"
"""The one task: no arguments, no result."""

_EXCHANGE = Exchange("crosswalk.doorbells", type="fanout")
_PATIENCE_SECONDS = 2.0

log = structlog.get_logger(__name__)


def celery_app(settings: Settings) -> Celery:
    """Celery on the broker of the settings; `memory://` reaches the workers inside this process alone."""
    app = Celery("crosswalk", broker=settings.broker_url, set_as_current=False)
    app.conf.update(
        task_queues=[Broadcast(_EXCHANGE.name, exchange=_EXCHANGE)],
        task_routes={DOORBELL: {"queue": _EXCHANGE.name}},
        task_ignore_result=True,
        task_acks_late=False,
        task_publish_retry=False,
        task_serializer="json",
        accept_content=["json"],
        worker_send_task_events=False,
        worker_enable_remote_control=False,
        worker_hijack_root_logger=False,
        worker_cancel_long_running_tasks_on_connection_loss=True,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_connection_timeout=_PATIENCE_SECONDS,
        broker_transport_options=_transport_options(settings),
    )
    return app


class Doorbell:
    """The gateway's end of the wire."""

    def __init__(self, settings: Settings) -> None:
        self._app = celery_app(settings)

    def ring(self) -> None:
        """Tells every worker to look. That the broker cannot be reached is logged, never raised."""
        reached(Failpoint.DOORBELL_RINGING)
        try:
            # Celery declares the exchange of no broadcast; undeclared, it would be taken for one that keeps messages.
            self._app.send_task(DOORBELL, declare=[_EXCHANGE])
        except (
            Exception
        ) as error:  # Brokers raise errors of many libraries, and none may fail a request that committed.
            log.warning("doorbell not rung; the sweep will find the job", error=repr(error))
        reached(Failpoint.DOORBELL_RUNG)

    def reachable(self) -> bool:
        """Whether the broker answers now, within a few seconds."""
        try:
            with self._app.connection_for_write() as connection:
                connection.default_channel.close()
        except Exception as error:
            log.warning("broker not reachable", error=repr(error))
            return False
        return True

    def close(self) -> None:
        self._app.close()


def _transport_options(settings: Settings) -> dict[str, float]:
    once = {"max_retries": 0}
    if settings.embedded:
        return once | {"polling_interval": 0.1}
    return once | {"socket_connect_timeout": _PATIENCE_SECONDS, "socket_timeout": 30.0}
