"""The keys that are valid now, in memory, so that a request costs no query.

Every gateway reads them anew once a second at most, when a request comes that needs them: a key that was made, revoked
or rotated elsewhere (by the command line, or through another gateway) is taken or refused within that second, and at
once by the gateway that did it. A request never runs on keys that were read longer ago: where the database cannot be
read, it is answered 503.
"""

import hmac
import threading
import time
from collections.abc import Callable
from datetime import datetime

import anyio
import structlog
from anyio.to_thread import run_sync
from sqlalchemy.exc import SQLAlchemyError

from app.keys.access import EVERY_SCOPE, Access
from app.keys.secret import hash_of, id_of
from app.keys.service import Keys
from app.keys.valid_keys import ValidKey, ValidKeys
from app.problems import Unauthorized, Unavailable
from app.redaction import never_show
from app.settings import Settings
from app.storage.database import utc_now

FRESH_SECONDS = 1.0
LAST_USE_SECONDS = 60.0
ADMIN_KEY = "admin_key"
"""What the key of the settings is called where another has its id."""

_NONE = hash_of("")
_UNKNOWN = "This key is not known here, has expired, or was revoked. GET /keys with an admin's key lists them."

log = structlog.get_logger(__name__)


class KeyRing:
    """Tells whose a key is."""

    def __init__(self, settings: Settings, keys: Keys, clock: Callable[[], float] = time.monotonic) -> None:
        self._keys = keys
        self._clock = clock
        self._admin = _admin_key(settings)
        self._reading = anyio.Lock()
        self._thread = anyio.CapacityLimiter(1)  # of its own: those of requests may all be taken
        self._changes = 0
        self._read: ValidKeys | None = None
        self._read_at = float("-inf")
        self._used: dict[str, datetime] = {}
        self._noting = threading.Lock()
        self._noted_at = clock()

    async def current(self) -> ValidKeys:
        """The keys as they are, or were less than a second ago. Raises Unavailable where they cannot be read."""
        if (fresh := self.fresh()) is not None:
            return fresh
        async with self._reading:
            if (fresh := self.fresh()) is not None:
                return fresh
            return await run_sync(self.read, limiter=self._thread)

    def fresh(self) -> ValidKeys | None:
        """The keys as they were less than a second ago; None where they are to be read anew."""
        return self._read if self._clock() - self._read_at < FRESH_SECONDS else None

    def last_read(self) -> ValidKeys | None:
        """The keys as they were read last, however long ago; None where they never were."""
        return self._read

    def read(self) -> ValidKeys:
        """Reads the keys. Raises Unavailable where the database does not answer."""
        began, changes = self._clock(), self._changes
        try:
            read = self._all_valid()
        except SQLAlchemyError as error:
            log.error("the keys cannot be read", error=repr(error))
            raise Unavailable("The keys cannot be read, because the database does not answer. Try again.") from None
        self._read = read
        if changes == self._changes:  # else what was read may be older than the change
            self._read_at = began
        self._note_once_a_minute()
        return read

    def changed(self) -> None:
        """Has the keys read anew by the next request: they were changed by this process."""
        self._changes += 1
        self._read_at = float("-inf")

    def identify(self, keys: ValidKeys, sent: str) -> ValidKey:
        """The key that a client sent. Raises Unauthorized, the same for an unknown key and for a wrong secret.

        Whatever was sent is hashed and compared, so that the time it takes tells nothing of what is stored.
        """
        key = keys.by_id.get(id_of(sent) or ADMIN_KEY)
        matches = hmac.compare_digest(hash_of(sent), key.hash if key else _NONE)
        if key is None or not matches or (key.ends_at is not None and key.ends_at <= utc_now()):
            raise Unauthorized(_UNKNOWN, error="invalid_token")
        if key.access.key != ADMIN_KEY:
            self._used[str(key.access.key)] = utc_now()
        return key

    def note_last_use(self) -> None:
        """Writes down when keys were last used. What cannot be written is said in the log, and tried again later."""
        with self._noting:
            used, self._used = self._used, {}
            self._noted_at = self._clock()
            try:
                if used:
                    self._keys.used(used)
            except SQLAlchemyError as error:
                self._used = used | self._used
                log.warning("when keys were last used was not noted", error=repr(error))

    def _note_once_a_minute(self) -> None:
        """In a thread of its own: it waits for other writers, and requests do not."""
        if self._used and self._clock() - self._noted_at >= LAST_USE_SECONDS:
            self._noted_at = self._clock()
            threading.Thread(target=self.note_last_use, name="last use of keys", daemon=True).start()

    def _all_valid(self) -> ValidKeys:
        stored = self._keys.valid()
        return stored if self._admin is None else ValidKeys({**stored.by_id, ADMIN_KEY: self._admin}, in_use=True)


def _admin_key(settings: Settings) -> ValidKey | None:
    """The key that the settings give, which may do everything."""
    key = settings.admin_secret()
    if key is None:
        return None
    never_show(key)
    return ValidKey(Access(ADMIN_KEY, EVERY_SCOPE), hash_of(key), None, None, None)
