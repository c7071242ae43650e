import json
import logging
import warnings
from collections.abc import Iterator

import pytest
import structlog
from support.command_line import logging_restored

from pacslite.cli.log import configure_logging
from pacslite.settings.schema import LoggingSettings


@pytest.fixture(autouse=True)
def _logging() -> Iterator[None]:
    with logging_restored():
        yield


def test_json_is_one_object_per_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(LoggingSettings(format="json"))
    structlog.get_logger("pacslite.x").info("instance.stored", file_bytes=5)
    logging.getLogger("asyncio").error("lost %s", "it", extra={"peer": "a"})
    captured = capsys.readouterr()
    assert captured.out == ""
    ours, foreign = (json.loads(line) for line in captured.err.splitlines())
    assert ours.pop("timestamp").endswith("Z")
    assert ours == {"event": "instance.stored", "file_bytes": 5, "level": "info", "logger": "pacslite.x"}
    assert foreign.pop("timestamp").endswith("Z")
    assert foreign == {"event": "lost it", "level": "error", "logger": "asyncio", "peer": "a"}


def test_text_is_plain_where_no_terminal_is(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(LoggingSettings())
    structlog.get_logger("pacslite.x").info("instance.stored", file_bytes=5)
    line = capsys.readouterr().err
    assert "\x1b" not in line
    assert "instance.stored" in line
    assert "file_bytes=5" in line


def test_the_level_holds_for_both_kinds_of_logger(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(LoggingSettings(level="error"))
    structlog.get_logger("pacslite.x").warning("a.b")
    logging.getLogger("asyncio").warning("c")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("form", ["text", "json"])
def test_tracebacks_show_no_local_variables(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(LoggingSettings.model_validate({"format": form}))
    try:
        patient_name = "DOE^" + "JANE"
        len(patient_name) // 0
    except ZeroDivisionError:
        structlog.get_logger("pacslite.x").exception("worker.failed")
    text = capsys.readouterr().err
    assert "ZeroDivisionError" in text
    assert "DOE^JANE" not in text


def quote_a_value() -> None:
    logging.getLogger("pydicom").warning("Invalid value for PN: 'DOE^JANE'")
    logging.getLogger("pynetdicom.dimse").error("PatientName DOE^JANE")
    warnings.warn("Invalid value for VR PN: 'DOE^JANE'", UserWarning, stacklevel=1)


@pytest.mark.parametrize("level", ["info", "warning", "error"])
def test_libraries_that_quote_values_are_not_heard(level: str, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(LoggingSettings.model_validate({"level": level}))
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=False)
        logging.captureWarnings(capture=True)
        quote_a_value()
    assert capsys.readouterr().err == ""


def test_libraries_do_not_talk_about_themselves(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(LoggingSettings())
    logging.getLogger("alembic.runtime.migration").info("Context impl SQLiteImpl.")
    assert capsys.readouterr().err == ""
    logging.getLogger("alembic.runtime.migration").warning("odd")
    assert "odd" in capsys.readouterr().err


def test_at_debug_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(LoggingSettings(level="debug"))
    logging.getLogger("pydicom").warning("Invalid value")
    assert "Invalid value" in capsys.readouterr().err
