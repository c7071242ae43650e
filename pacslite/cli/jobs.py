"""`pacslite jobs`: what an archive has promised to do later."""

import json
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pacslite.cli.keeping import ArchiveOption, carry_out, chosen_archive, reading
from pacslite.cli.options import ConfigOption, DataOption, JsonOption, quiet_settings_from
from pacslite.model.errors import NotFoundError
from pacslite.model.jobs import JobState

if TYPE_CHECKING:
    from pacslite.index.job_list import JobRecord

app = typer.Typer(
    help="See, retry and cancel the jobs of an archive.", no_args_is_help=True, rich_markup_mode=None
)

KindOption = Annotated[str | None, typer.Option("--kind", metavar="K", help="Jobs of this kind only.")]
StateOption = Annotated[
    JobState | None,
    typer.Option(
        "--state", metavar="S", help="Jobs in this state only: queued, leased (under way), dead, cancelled."
    ),
]
NumbersArgument = Annotated[
    list[int] | None, typer.Argument(metavar="NUMBER", help="Jobs by number; all must exist.")
]


@app.command("list")
def list_(
    *,
    kind: KindOption = None,
    state: StateOption = None,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, help="Show the first N jobs.")] = 100,
    archive: ArchiveOption = None,
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the jobs that are not done, and how many there are of each kind.

    A job that is done leaves the list. One that failed too often (`jobs.max_attempts`) is dead.
    """
    from pacslite.index.job_list import JobFilter, count_jobs, find_jobs  # noqa: PLC0415 - imports SQLAlchemy

    settings = quiet_settings_from(config, data)
    wanted = JobFilter(kind=kind, state=state)
    with reading(settings, chosen_archive(settings, archive)) as reader:
        counts = reader.read(count_jobs)
        jobs = reader.read(lambda connection: find_jobs(connection, wanted, limit=limit))
    told = [{"kind": kind, "state": state.value, "jobs": count} for (kind, state), count in counts.items()]
    if as_json:
        typer.echo(json.dumps({"counts": told, "jobs": [plain(job) for job in jobs]}))
    else:
        _print_list(told, jobs)


@app.command("show")
def show(
    number: Annotated[int, typer.Argument(metavar="NUMBER", help="The job.")],
    *,
    archive: ArchiveOption = None,
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show everything about one job."""
    from pacslite.index.job_list import JobFilter, find_jobs  # noqa: PLC0415 - imports SQLAlchemy

    settings = quiet_settings_from(config, data)
    with reading(settings, chosen_archive(settings, archive)) as reader:
        jobs = reader.read(lambda connection: find_jobs(connection, JobFilter((number,)), limit=1))
    if not jobs:
        raise NotFoundError(f"there is no job {number}; jobs that are done leave the list")
    values = plain(jobs[0])
    if as_json:
        typer.echo(json.dumps(values))
    else:
        for key, value in values.items():
            typer.echo(f"{key:<12} {json.dumps(value) if key == 'payload' else _or_dash(value)}")


@app.command("retry")
def retry(
    numbers: NumbersArgument = None,
    *,
    kind: KindOption = None,
    state: StateOption = None,
    archive: ArchiveOption = None,
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let jobs be tried again at once, dead and cancelled ones too.

    Those that meet every condition are meant; there must be one. Jobs that are under way stay as they are.
    With a node running it does them, else this command, but for those that need the network.
    """
    settings = quiet_settings_from(config, data)
    result = carry_out(settings, archive, "jobs.retry", _choice(numbers, kind, state))
    _print_changed(result, "to be tried again", as_json=as_json)


@app.command("cancel")
def cancel(
    numbers: NumbersArgument = None,
    *,
    kind: KindOption = None,
    state: StateOption = None,
    archive: ArchiveOption = None,
    config: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let jobs not be done.

    Those that meet every condition are meant; there must be one. One that is under way may come to its end
    all the same. Cancelled jobs stay on the list, and `retry` brings them back.
    """
    settings = quiet_settings_from(config, data)
    result = carry_out(settings, archive, "jobs.cancel", _choice(numbers, kind, state))
    _print_changed(result, "cancelled", as_json=as_json)


def plain(job: "JobRecord") -> dict[str, Any]:
    """Return a job as JSON can say it."""
    return {
        key: value.isoformat(timespec="seconds") if isinstance(value, datetime) else value
        for key, value in asdict(job).items()
    }


def _choice(numbers: list[int] | None, kind: str | None, state: JobState | None) -> dict[str, Any]:
    if not (numbers or kind or state):
        raise typer.BadParameter("say which jobs: by number, --kind or --state")
    return {"numbers": numbers or [], "kind": kind, "state": state}


def _print_list(counts: list[dict[str, Any]], jobs: "list[JobRecord]") -> None:
    if not counts:
        typer.echo("no jobs")
        return
    for count in counts:
        typer.echo(f"{count['jobs']:>8}  {count['state']:<9}  {count['kind']}")
    width = max(len(job.kind) for job in jobs) if jobs else 0
    typer.echo(f"\n{'number':>8}  {'kind':<{width}}  state      attempts  due (UTC)            last error")
    for job in jobs:
        due = f"{job.not_before:%Y-%m-%d %H:%M:%S}"
        start = f"{job.pk:>8}  {job.kind:<{width}}  {job.state:<9}  {job.attempts:>8}  {due}"
        typer.echo(f"{start}  {_or_dash(job.last_error)}")


def _print_changed(result: dict[str, Any], outcome: str, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(result))
        return
    typer.echo(f"{len(result['changed'])} {outcome}")
    if result["unchanged"]:
        typer.echo(f"left as they were: {', '.join(map(str, result['unchanged']))}")


def _or_dash(value: object) -> str:
    """Return `value` without what steers a terminal: an error may repeat words of a peer."""
    text = "-" if value is None else str(value)
    return "".join(mark if mark.isprintable() else "\N{REPLACEMENT CHARACTER}" for mark in text)
