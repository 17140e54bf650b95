"""The ``dicom-node`` command."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress

from dicom_node import __version__
from dicom_node.access_commands import keys, users
from dicom_node.config import Config, ConfigurationError, Peer, config_path
from dicom_node.console import ConfigOption, console, errors, fail, read_config
from dicom_node.domain import DeliveryState
from dicom_node.fetch_commands import fetch
from dicom_node.worker_commands import workers

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="An inference node beside the PACS: DICOM studies in, structured reports and secondary captures out.",
)
app.add_typer(users, name="user")
app.add_typer(keys, name="apikey")
app.add_typer(workers, name="workers")
app.command()(fetch)

_ADDRESS = re.compile(r"(?P<ae>[^@]{1,16})@(?P<host>\[[0-9a-fA-F:]+\]|[^:@]+):(?P<port>\d{1,5})")


def _peer(address: str) -> Peer:
    """A peer from ``AET@HOST:PORT``."""
    match = _ADDRESS.fullmatch(address)
    if match is None or not 1 <= int(match["port"]) <= 65535:
        raise typer.BadParameter(f"{address!r} is not AET@HOST:PORT, such as ORTHANC@127.0.0.1:4242")
    return Peer(name="peer", ae_title=match["ae"], host=match["host"].strip("[]"), port=int(match["port"]))


def _run_with_models(run: Callable[[Config], None], config: Path | None) -> None:
    from dicom_node.inference.definition import BundleError

    try:
        _run(run, config)
    except BundleError as error:
        raise fail(str(error)) from error


def _run(run: Callable[[Config], None], config: Path | None) -> None:
    from dicom_node.logs import configure_logging
    from dicom_node.migrations import NewerDatabase

    settings = read_config(config)
    configure_logging(settings.node.log_level, settings.node.log_format)
    try:
        run(settings)
    except (NewerDatabase, ConfigurationError) as error:
        raise fail(f"cannot start: {error}.") from error
    except OSError as error:
        raise fail(
            f"cannot start: {error.strerror or error}. Check ports and data folder (dicom-node check)."
        ) from error


def _greet(settings: Config) -> None:
    """Tell whoever starts a node without users how to log in, once there is a database."""
    import sqlalchemy as sa

    from dicom_node.access.first_start import first_administrator
    from dicom_node.database import Database
    from dicom_node.logs import configure_logging
    from dicom_node.migrations import NewerDatabase
    from dicom_node.passing import in_words
    from dicom_node.supervisor import stop_event

    configure_logging(settings.node.log_level, settings.node.log_format)
    try:
        settings.node.data_folder.mkdir(parents=True, exist_ok=True)
        database = Database(settings.database_url)
        database.wait_for_tables(stop_event())
        words = first_administrator(database, settings.first_password_path, on_screen=sys.stdout.isatty())
        database.close()
    except NewerDatabase as error:
        raise fail(f"cannot start: {error}.") from error
    except sa.exc.SQLAlchemyError as error:
        raise fail(f"cannot start: the database cannot be used: {in_words(error)}.") from error
    except OSError as error:
        raise fail(f"cannot start: {error.strerror or error}. Check the data folder (dicom-node check).") from error
    if words is not None:
        console.print(words, markup=False, highlight=False, soft_wrap=True)


@app.command()
def serve(config: ConfigOption = None) -> None:
    """Run the whole node: receiver, worker and web, kept alive by one supervisor."""
    from dicom_node.supervisor import supervise

    settings = read_config(config)
    console.print(
        f"dicom-node {__version__}: {settings.node.ae_title} on {settings.receive.ports_in_words}, "
        f"status page {settings.web_url}",
        highlight=False,
        soft_wrap=True,
    )
    _greet(settings)
    supervise(config_path(config), settings.receive.processes)


@app.command()
def receiver(config: ConfigOption = None) -> None:
    """Run the DICOM receiver alone."""
    from dicom_node.processes import run_receiver

    _run(run_receiver, config)


@app.command()
def worker(config: ConfigOption = None) -> None:
    """Run the worker, which holds the models, alone."""
    from dicom_node.processes import run_worker

    _run_with_models(run_worker, config)


@app.command()
def web(config: ConfigOption = None) -> None:
    """Run the status page and the API alone."""
    from dicom_node.processes import run_web

    settings = read_config(config)
    _greet(settings)
    run = _run_with_models if settings.web.predict else _run
    run(run_web, config)


@app.command()
def check(config: ConfigOption = None) -> None:
    """Check configuration, models, database and store, and C-ECHO every peer."""
    from dicom_node.check import check_node

    failed = False
    for result in check_node(read_config(config)):
        mark = {True: "[green]ok[/]", False: "[red]wrong[/]", None: "[yellow]note[/]"}[result.passed]
        console.print(f"{mark:>16}  {result.subject}: ", end="", highlight=False)
        console.print(result.text, markup=False, highlight=False)
        failed = failed or result.passed is False
    if failed:
        raise typer.Exit(1)


@app.command()
def certificates(
    names: Annotated[list[str], typer.Argument(metavar="NAME…", help="One certificate for each, such as 'node pacs'.")],
    out: Annotated[Path, typer.Option("--out", file_okay=False, help="Folder; the authority in it is used again.")],
    host: Annotated[
        list[str] | None, typer.Option("--host", help="A name or address of the machines; else of this one only.")
    ] = None,
    days: Annotated[int, typer.Option(min=1, max=3650, help="How long the certificates hold.")] = 365,
) -> None:
    """Make an authority of your own and certificates by it for DICOM TLS and HTTPS, for tests and small sites."""
    from dicom_node.certificates import CertificateError, make_certificates
    from dicom_node.database import now

    wrong = [name for name in names if not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", name) or name == "ca"]
    if wrong:
        raise fail(f"{wrong[0]!r} is no name for a certificate's file")
    try:
        written = make_certificates(out, names, host or ["localhost", "127.0.0.1"], days, now())
    except (CertificateError, OSError) as error:
        raise fail(str(error)) from error
    for path in written:
        console.print(str(path), markup=False, highlight=False, soft_wrap=True)


@app.command()
def echo(
    peer: Annotated[str, typer.Argument(metavar="AET@HOST:PORT")],
    calling: Annotated[str, typer.Option(help="Calling AE title.")] = "DICOMNODE",
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds to wait for each answer.")] = 10.0,
) -> None:
    """C-ECHO a peer."""
    from dicom_node.deliver.sender import Sender

    problem = Sender(calling, timeout).echo(_peer(peer))
    if problem is not None:
        raise fail(problem)
    console.print(f"{peer} answered")


@app.command()
def send(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH…", exists=True, help="DICOM files, or folders of them.")],
    to: Annotated[str, typer.Option("--to", metavar="AET@HOST:PORT")],
    calling: Annotated[str, typer.Option(help="Calling AE title.")] = "DICOMNODE",
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds to wait for each answer.")] = 30.0,
) -> None:
    """Send DICOM files to a peer by C-STORE. Files that are not DICOM are named and left out."""
    from dicom_node.deliver.sender import Sender, is_dicom

    found = _files(paths)
    files = [path for path in found if is_dicom(path)]
    for path in sorted(set(found) - set(files)):
        errors.print(f"{path}: not a DICOM file, left out", markup=False, highlight=False)
    if not files:
        raise fail("nothing to send: no DICOM file among the paths given")
    problems = len(found) - len(files)
    with Progress(console=errors) as progress:
        for path, attempt in progress.track(
            Sender(calling, timeout).send(_peer(to), files), total=len(files), description="sending"
        ):
            if attempt.state is not DeliveryState.DELIVERED:
                problems += 1
                progress.console.print(f"{path}: {attempt.message}", markup=False, highlight=False)
    console.print(f"{len(found) - problems} of {len(found)} files sent to {to}")
    if problems:
        raise typer.Exit(1)


@app.command()
def analyze(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH…", exists=True, help="DICOM files, or folders of them.")],
    out: Annotated[Path, typer.Option("--out", file_okay=False, help="Folder for the result objects.")],
    model: Annotated[str | None, typer.Option(help="Only this model; else every model whose rules match.")] = None,
    destination: Annotated[str | None, typer.Option(help="Make what this peer would be sent (a dry run).")] = None,
    config: ConfigOption = None,
) -> None:
    """Analyse DICOM files offline, by the same stages, and write the result objects into a folder."""
    from dicom_node.logs import configure_logging
    from dicom_node.offline import OfflineError, analyze_files

    settings = read_config(config)
    configure_logging("WARNING", "text")
    try:
        lines, made = analyze_files(settings, _files(paths), out, model, destination)
    except OfflineError as error:
        raise fail(str(error)) from error
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    console.print(f"{made} result objects written to {out}", highlight=False)
    if not made:
        raise typer.Exit(1)


@app.command()
def predict(
    paths: Annotated[
        list[Path], typer.Argument(metavar="FILE_OR_FOLDER…", exists=True, help="PNG, JPEG or DICOM files.")
    ],
    model: Annotated[str, typer.Option("--model", help="Name of the model (its folder's name).")],
    csv: Annotated[
        Path, typer.Option("--csv", dir_okay=False, help="Table to write: file, one column a class, refused.")
    ],
    config: ConfigOption = None,
) -> None:
    """Score single images: one row a file, with the calibrated probability of each class, or why it was refused."""
    from dicom_node.logs import configure_logging
    from dicom_node.offline import OfflineError, predict_files

    settings = read_config(config)
    configure_logging("WARNING", "text")
    try:
        with Progress(console=errors) as progress:
            files = _files(paths)
            task = progress.add_task("scoring", total=len(files))
            refused = predict_files(settings, model, files, csv, lambda: progress.advance(task))
    except OfflineError as error:
        raise fail(str(error)) from error
    console.print(f"{len(files) - refused} files scored, {refused} refused: {csv}", highlight=False)


def _files(paths: list[Path]) -> list[Path]:
    """The files among ``paths`` and below the folders among them, sorted, hidden ones left out."""
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            files += sorted(p for p in path.rglob("*") if p.is_file() and not p.name.startswith("."))
        else:
            files.append(path)
    return files


def _print_version(value: bool) -> None:
    if value:
        console.print(f"dicom-node {__version__}", highlight=False)
        raise typer.Exit


@app.callback()
def _root(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Entry point of the ``dicom-node`` command."""
    app()
