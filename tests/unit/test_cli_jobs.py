import io
import json
from pathlib import Path

import pytest
from support.command_line import run
from support.index import Index
from support.jobs import change, jobs_of, promise, wait_until

from pacslite.cli import keeping
from pacslite.cli.keeping import progress_shown
from pacslite.model.jobs import JobState
from pacslite.testing import RunningNode

PLACES = ("archives", "main", "index.sqlite")


def index_of(data_folder: Path) -> Index:
    return Index(f"sqlite:///{data_folder.joinpath(*PLACES)}")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data folder whose archive has a dead job and one of a kind that nobody knows."""
    assert run("db", "upgrade", "--data", tmp_path).exit_code == 0
    index = index_of(tmp_path)
    dead = promise(index, "remove-files", {"paths": []})
    change(index, dead, state=JobState.DEAD, attempts=10, last_error="OSError: Input/output error")
    promise(index, "later", {"uid": "1.2"}, dedupe_key="1.2")
    index.close()
    return tmp_path


def listed(folder: Path, *options: str) -> list[tuple[int, str]]:
    result = run("jobs", "list", "--json", "--data", folder, *options)
    assert result.exit_code == 0
    return [(job["pk"], job["state"]) for job in json.loads(result.stdout)["jobs"]]


def test_an_archive_without_jobs(tmp_path: Path) -> None:
    assert run("db", "upgrade", "--data", tmp_path).exit_code == 0
    result = run("jobs", "list", "--data", tmp_path)
    assert (result.exit_code, result.stdout) == (0, "no jobs\n")


def test_a_list_for_people(folder: Path) -> None:
    result = run("jobs", "list", "--data", folder)
    assert result.exit_code == 0
    counts, jobs = result.stdout.split("\n\n")
    assert [line.split() for line in counts.splitlines()] == [
        ["1", "queued", "later"],
        ["1", "dead", "remove-files"],
    ]
    header, dead, queued = jobs.splitlines()
    assert header.split()[:2] == ["number", "kind"]
    assert dead.split()[:4] == ["1", "remove-files", "dead", "10"]
    assert dead.endswith("OSError: Input/output error")
    assert queued.split()[:4] == ["2", "later", "queued", "0"]


def test_a_list_for_machines_and_its_choices(folder: Path) -> None:
    told = json.loads(run("jobs", "list", "--json", "--data", folder).stdout)
    assert told["counts"] == [
        {"kind": "later", "state": "queued", "jobs": 1},
        {"kind": "remove-files", "state": "dead", "jobs": 1},
    ]
    assert [(job["pk"], job["payload"]) for job in told["jobs"]] == [(1, {"paths": []}), (2, {"uid": "1.2"})]
    assert listed(folder, "--state", "dead") == [(1, "dead")]
    assert listed(folder, "--kind", "later") == [(2, "queued")]
    assert listed(folder, "--limit", "1") == [(1, "dead")]


def test_one_job_in_full(folder: Path) -> None:
    told = json.loads(run("jobs", "show", 1, "--json", "--data", folder).stdout)
    assert (told["state"], told["attempts"], told["last_error"]) == (
        "dead",
        10,
        "OSError: Input/output error",
    )
    shown = run("jobs", "show", 2, "--data", folder).stdout
    assert 'payload      {"uid": "1.2"}' in shown
    assert "last_error   -" in shown
    missing = run("jobs", "show", 3, "--data", folder)
    assert missing.exit_code == 1
    assert "there is no job 3" in missing.stderr


def test_retry_without_a_node_does_it_here(folder: Path) -> None:
    result = run("jobs", "retry", 1, "--data", folder)
    assert (result.exit_code, result.stdout) == (0, "1 to be tried again\n")
    assert "no node runs: done by this command" in result.stderr
    assert listed(folder) == [(2, "queued")]


def test_retry_with_a_node_lets_it_do_it(pacs: RunningNode) -> None:
    index = index_of(pacs.data_folder)
    dead = promise(index, "remove-files", {"paths": []}, dedupe_key="x")
    change(index, dead, state=JobState.DEAD)
    index.close()
    result = run("jobs", "retry", "--state", "dead", "--json", "--data", pacs.data_folder)
    assert result.exit_code == 0
    told = json.dumps({"changed": [dead], "unchanged": []})
    assert told in result.stdout.splitlines()  # beside the node's log
    assert "through node process" in result.stderr
    index = index_of(pacs.data_folder)
    wait_until(lambda: not jobs_of(index))
    index.close()


def test_cancel_and_cancel_again(folder: Path) -> None:
    assert run("jobs", "cancel", "--kind", "later", "--data", folder).stdout == "1 cancelled\n"
    assert listed(folder, "--state", "cancelled") == [(2, "cancelled")]
    again = run("jobs", "cancel", 2, "--data", folder)
    assert (again.exit_code, again.stdout) == (0, "0 cancelled\nleft as they were: 2\n")
    assert listed(folder) == [(1, "dead"), (2, "cancelled")]


def test_a_number_that_is_no_jobs_changes_nothing(folder: Path) -> None:
    result = run("jobs", "cancel", 2, 77, "--data", folder)
    assert result.exit_code == 1
    assert "there is no such job: 77" in result.stderr
    assert (2, "queued") in listed(folder)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("retry",), 2),
        (("cancel",), 2),
        (("list", "--state", "lost"), 2),
        (("list", "--archive", "other"), 3),
        (("cancel", 1, "--archive", "other"), 3),
    ],
)
def test_what_cannot_be_meant_has_its_exit_code(
    folder: Path, arguments: tuple[object, ...], code: int
) -> None:
    assert run("jobs", *arguments, "--data", folder).exit_code == code


def test_an_interrupted_command_says_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pacslite.control.keeper._LoneKeeper.call", interrupt)
    result = run("jobs", "cancel", 1, "--data", folder)
    assert result.exit_code == 130
    assert "pacslite: interrupted\n" in result.stderr


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_progress_without_a_terminal_is_a_line_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    lines = keeping._Lines(clock)
    for clock.now in (1.0, 4.0, 5.0, 6.0, 9.9, 10.0):
        lines.progress(int(clock.now), None if clock.now > 9.9 else 20, "files")
    assert capsys.readouterr().err == "pacslite: 5 of 20 files\npacslite: 10 files\n"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_on_a_terminal_is_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    written = Terminal()
    monkeypatch.setattr("sys.stderr", written)
    monkeypatch.setenv("TERM", "xterm")
    with progress_shown() as progress:
        progress(3, 4, "files")
    assert "3/4" in written.getvalue()
    assert "files" in written.getvalue()
