"""Log lines: one format for the whole process, on stderr."""

import logging
import sys
from typing import Any, Literal

import structlog

from app.answer_lines import ANSWERED, AnswerRecord, Render, as_console, as_json
from app.redaction import redacted

_CHATTY = {
    "alembic": logging.WARNING,
    "celery": logging.WARNING,
    "elastic_transport": logging.ERROR,  # shows the addresses of stores that do not answer
    "faiss.loader": logging.WARNING,  # tells at every start which builds of FAISS its wheel does not hold
    "httpx": logging.WARNING,
    "kombu": logging.ERROR,  # warns that memory:// names no host
    "uvicorn": logging.WARNING,
}


class _Redacting(structlog.stdlib.ProcessorFormatter):
    """Leaves the secrets of keys out of whatever is written, tracebacks included. No line is meant to have one."""

    def __init__(self, answers: Render | None, **options: Any) -> None:
        """answers: what makes the lines of answers; None where they are made as any other."""
        super().__init__(**options)
        self.answers = answers

    def format(self, record: logging.LogRecord) -> str:
        if isinstance(record, AnswerRecord) and self.answers is not None:
            return redacted(self.answers(record))
        return redacted(super().format(record))


def configure_logging(log_format: Literal["console", "json"]) -> None:
    """Sends every log line of the process to stderr in one format, the libraries' lines too."""
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        _Redacting(
            _answer_lines(log_format),
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_renderers(log_format)],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.INFO)
    quiet_libraries()


def quiet_libraries() -> None:
    """Has libraries log no more than somebody who runs the service wants to read."""
    for chatty, level in _CHATTY.items():
        logging.getLogger(chatty).setLevel(level)


def log_answer(name: str, **members: Any) -> None:
    """Logs that a request was answered: `members` and what is bound to the context, as a line of the logger `name`."""
    logger, handlers = logging.getLogger(name), logging.getLogger().handlers
    if any(isinstance(one.formatter, _Redacting) and one.formatter.answers is not None for one in handlers):
        if logger.isEnabledFor(logging.INFO):
            logger.handle(AnswerRecord(name, members | structlog.contextvars.get_contextvars()))
    else:
        structlog.get_logger(name).info(ANSWERED, **members)


def _answer_lines(log_format: Literal["console", "json"]) -> Render | None:
    if log_format == "json":
        return as_json
    return None if sys.stderr.isatty() else as_console


def _renderers(log_format: Literal["console", "json"]) -> list[structlog.types.Processor]:
    if log_format == "console":
        # Plain tracebacks: the decorated ones print local variables, and with them what clients sent.
        return [
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)
        ]
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
