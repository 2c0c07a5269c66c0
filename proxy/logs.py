"""Logging to standard error: text for people or JSON lines for machines, bounded in length and rate."""

from __future__ import annotations

import logging
import re
import sys
import time
from typing import Final

from typing_extensions import override

from proxy.config.model import LoggingSettings
from translators.codec import dumps_text

MAX_MESSAGE: Final = 4096
RECORDS_PER_S: Final = 200


_UNPRINTABLE: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


class _Text(logging.Formatter):
    """A line for people. Further lines of a message are indented, so that none passes for a record of its own."""

    @override
    def format(self, record: logging.LogRecord) -> str:
        at = self.formatTime(record, "%H:%M:%S")
        text = f"{at} {record.levelname:<7} {record.name}: {record.getMessage()[:MAX_MESSAGE]}"
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)[-MAX_MESSAGE:]
        return _UNPRINTABLE.sub(_escaped, text).replace("\n", "\n    ")


def _escaped(found: re.Match[str]) -> str:
    return f"\\x{ord(found[0]):02x}"


class _Json(logging.Formatter):
    """One object a line."""

    @override
    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "at": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage()[:MAX_MESSAGE],
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)[-MAX_MESSAGE:]
        return dumps_text({name: _UNPRINTABLE.sub(_escaped, text) for name, text in fields.items()})


class _Rate(logging.Filter):
    """Drops what comes faster than RECORDS_PER_S; a log must not fill the disk or stop the loop."""

    def __init__(self) -> None:
        super().__init__()
        self._second = 0
        self._count = 0

    @override
    def filter(self, record: logging.LogRecord) -> bool:
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._count = second, 0
        self._count += 1
        return self._count <= RECORDS_PER_S


class _NoRequestLines(logging.Filter):
    """aiohttp's parse errors quote the header line that they stumble over, which may hold the caller's key."""

    @override
    def filter(self, record: logging.LogRecord) -> bool:
        return False


def configure_logging(settings: LoggingSettings) -> None:
    """Set the one handler up; may be called again."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if settings.format == "json" else _Text())
    handler.addFilter(_Rate())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.level.upper())
    for name in ("modelport.http", "aiohttp.server"):
        logger = logging.getLogger(name)
        logger.filters[:] = [_NoRequestLines()]
