"""Logging to standard error or a file: text for people or JSON lines for machines, bounded in length and rate.

Every record that is made while a request is answered carries its id, also from tasks and threads that the request
has started. A record may bring `fields`, by `extra={"fields": {...}}`: members of the JSON object, `name=value` behind
the text.
"""

from __future__ import annotations

import logging
import re
import sys
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any, Final, Literal, get_args

from typing_extensions import override

from proxy.config.model import LoggingSettings
from proxy.log_file import LogFile
from translators.codec import dumps_text

MAX_MESSAGE: Final = 4096
MARGIN: Final = 1024
"""Letters beyond it in which a secret may end that begins before."""
RECORDS_PER_S: Final = 200
"""Unless the configuration says otherwise."""
REQUEST_ID: Final[ContextVar[str]] = ContextVar("modelport_request_id", default="")
"""The id of the request that is being answered; empty outside of any."""
Level = Literal["debug", "info", "warning", "error"]
ROOT: Final = "root"
"""What has the level of all loggers that have none of their own."""
OURS: Final = ("modelport", "storage", "aiohttp", "asyncio")
"""How the names of loggers begin by which our code, and what it stands on, says something."""
LEVELLED: Final = (*OURS, "opentelemetry")
"""How those begin that there are levels for."""
QUIET: Final = ("modelport.http", "aiohttp.server")
"""Loggers of aiohttp's, which quote what clients send."""

_UNPRINTABLE: Final = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff"
    r"\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)
"""What paints a terminal or cannot be encoded; and what turns, hides or breaks the text around it."""


class _Clean(logging.Formatter):
    """Takes secrets out before anything is cut, so that no half of one is left."""

    def __init__(self, clean: Callable[[str], str] = str) -> None:
        super().__init__()
        self._clean = clean

    def message(self, record: logging.LogRecord) -> str:
        """What it says, as far as that is written."""
        return self._clean(record.getMessage()[: MAX_MESSAGE + MARGIN])[:MAX_MESSAGE]

    def exception(self, record: logging.LogRecord) -> str:
        """The end of its traceback; empty where it has none."""
        text = self.formatException(record.exc_info) if record.exc_info else ""
        return self._clean(text[-MAX_MESSAGE - MARGIN :])[-MAX_MESSAGE:]


class _Text(_Clean):
    """A line for people. Further lines of a message are indented, so that none passes for a record of its own.

    *clock*: how its time is written; a file outlives the day.
    """

    def __init__(self, clean: Callable[[str], str] = str, clock: str = "%H:%M:%S") -> None:
        super().__init__(clean)
        self._clock = clock

    @override
    def format(self, record: logging.LogRecord) -> str:
        at, request_id = self.formatTime(record, self._clock), REQUEST_ID.get()
        where = f"{record.name} {request_id}" if request_id else record.name
        text = f"{at} {record.levelname:<7} {where}: {self.message(record)}"
        if fields := _fields(record):
            told = self._clean(" ".join(f"{name}={_word(value)}" for name, value in fields.items()))
            text += " " + told[:MAX_MESSAGE]
        if exception := self.exception(record):
            text += "\n" + exception
        return _UNPRINTABLE.sub(_escaped, text).replace("\n", "\n    ")


def _fields(record: logging.LogRecord) -> Mapping[str, Any]:
    fields: Mapping[str, Any] = getattr(record, "fields", {})
    return fields


def _word(value: Any) -> str:
    text = value if isinstance(value, str) else dumps_text(value)
    return dumps_text(text) if isinstance(value, str) and (" " in text or not text) else text


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


class _Json(_Clean):
    """One object a line."""

    @override
    def format(self, record: logging.LogRecord) -> str:
        told = {
            "at": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": self.message(record),
        }
        if request_id := REQUEST_ID.get():
            told["request_id"] = request_id
        if exception := self.exception(record):
            told["exception"] = exception
        return dumps_text({**self._printable(_fields(record)), **self._printable(told)})

    def _printable(self, value: Any) -> Any:
        """*value*, JSON, without secrets, and with texts that any terminal may show."""
        match value:
            case str():
                return _UNPRINTABLE.sub(_escaped, self._clean(value))
            case Mapping():
                return {name: self._printable(each) for name, each in value.items()}
            case list() | tuple():
                return [self._printable(each) for each in value]
            case _:
                return value


class _Stream(logging.StreamHandler[Any]):
    """The log, without what comes faster than *per_s* records: it must not fill the disk or stop the loop.

    The first record of the next second says how many are missing. *dropped* counts them all, and those that a file does
    not take, of which standard error hears once. *file*: None for standard error.
    """

    def __init__(self, dropped: int, now: Callable[[], float], per_s: int, file: LogFile | None = None) -> None:
        super().__init__(sys.stderr if file is None else file)
        self.dropped = dropped
        self._file = file
        self._fails = False
        self._now = now
        self._per_s = per_s
        self._second = 0
        self._count = 0

    @override
    def emit(self, record: logging.LogRecord) -> None:
        second = int(self._now())
        if second != self._second:
            missing = self._count - self._per_s
            self._second, self._count = second, 0
            if missing > 0:
                super().emit(_dropped(missing, self._per_s))
        self._count += 1
        if self._count > self._per_s:
            self.dropped += 1
            return
        super().emit(record)

    @override
    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exception()
        if self._file is None or not isinstance(error, OSError):
            super().handleError(record)
            return
        self.dropped += 1
        if not self._fails:
            self._fails = True
            sys.stderr.write(f"modelport: the log cannot be written to {self._file.path}: {error.strerror}\n")

    @override
    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        super().close()


def _dropped(missing: int, per_s: int) -> logging.LogRecord:
    told = f"{missing} log records were dropped: more than {per_s} came in a second"
    return logging.LogRecord("modelport.logs", logging.WARNING, "", 0, told, None, None)


class _NoRequestLines(logging.Filter):
    """aiohttp's parse errors quote the header line that they stumble over, which may hold the caller's key."""

    @override
    def filter(self, record: logging.LogRecord) -> bool:
        return False


def configure_logging(
    settings: LoggingSettings, now: Callable[[], float] = time.monotonic, clean: Callable[[str], str] = str
) -> None:
    """Set the one handler up; may be called again, which opens its file again. Levels chosen at run time stay.

    *now* is monotonic; *clean* takes secrets out of whatever is written.

    Raises:
        OSError: the file cannot be opened; everything is as before.
    """
    root = logging.getLogger()
    file = LogFile(settings.file, settings.file_mb * 2**20, settings.files) if settings.file else None
    handler = _Stream(dropped_records(), now, settings.records_per_s, file)
    clock = "%H:%M:%S" if file is None else "%Y-%m-%d %H:%M:%S"
    handler.setFormatter(_Json(clean) if settings.format == "json" else _Text(clean, clock))
    replaced = [each for each in root.handlers if isinstance(each, _Stream)]
    root.handlers[:] = [handler, *(each for each in root.handlers if isinstance(each, Listener))]
    for each in replaced:
        each.close()
    root.setLevel(settings.level.upper())
    for name in QUIET:
        logging.getLogger(name).filters[:] = [_NoRequestLines()]


class Listener(logging.Handler):
    """A handler that `configure_logging` leaves where it is. Whoever adds it removes it."""


def dropped_records() -> int:
    """Records that were not written since the start, as too many came at once."""
    return sum(each.dropped for each in logging.getLogger().handlers if isinstance(each, _Stream))


# --- levels at run time


class UnknownLogger(LookupError):
    """There is no logger of that name; the message names those that there are."""


def level_of(name: str) -> Level | None:
    """The level of its own that the logger *name* has. Raises UnknownLogger."""
    chosen = _logger(name).level
    return next((level for level in get_args(Level) if logging.getLevelName(level.upper()) == chosen), None)


def choose_level(name: str, level: Level | None) -> None:
    """Let the logger *name*, and those below it, write from *level* on; None: as the one above. Raises UnknownLogger.

    It holds until another is chosen or the process ends; that of ROOT until the configuration is read again.
    """
    _logger(name).setLevel(logging.NOTSET if level is None else level.upper())


def loggers() -> list[str]:
    """The names that there are levels for."""
    known = logging.root.manager.loggerDict.items()
    ours = {name for name, each in known if isinstance(each, logging.Logger) and name.partition(".")[0] in LEVELLED}
    return [ROOT, *sorted(ours.difference(QUIET))]


def _logger(name: str) -> logging.Logger:
    if name not in loggers():
        raise UnknownLogger(f"no logger is called {name[:80]!r}; there are {', '.join(loggers())}")
    return logging.getLogger(None if name == ROOT else name)
