"""The command ``headgate``: its table of commands, and the border where every failure becomes a sentence and a code."""

import io
import os
import sys
import traceback
from collections.abc import Sequence
from types import TracebackType

import click

from headgate import __version__
from headgate.cli.lazy import Entry, LazyGroup
from headgate.cli.text import printable
from headgate.core.errors import ConfigurationError, HeadgateError, HomeError

EXIT_REFUSED = 1
EXIT_USAGE = 2
EXIT_INFRASTRUCTURE = 5
EXIT_DEFECT = 70
EXIT_INTERRUPTED = 130

COMMANDS = {
    "init": Entry(target="headgate.cli.init:init", help="Write a commented headgate.toml and folders to start from."),
    "serve": Entry(target="headgate.cli.serve:serve", help="Start the gateway (--demo needs no provider key)."),
    "restart": Entry(target="headgate.cli.restart:restart", help="Replace all workers without a refused request."),
    "status": Entry(target="headgate.cli.status:status", help="Health, workers, spool, disk growth, cost coverage."),
    "doctor": Entry(target="headgate.cli.doctor:doctor", help="Say what is wrong and how to mend it."),
    "backup": Entry(target="headgate.cli.backup:backup", help="Copy everything to a directory, while it serves."),
    "verify": Entry(target="headgate.cli.verify:verify", help="Prove that every accepted call is stored, once."),
    "log": Entry(target="headgate.cli.log:log", help="The requests: list, show, tail, export, delete."),
    "explain": Entry(target="headgate.cli.explain:explain", help="Every decision behind one answer."),
    "cost": Entry(target="headgate.cli.cost:cost", help="What was spent, by model, prompt, key, day or tag."),
    "prompt": Entry(target="headgate.cli.prompt:prompt", help="Prompts as releases: push, diff, promote, roll back."),
    "kb": Entry(target="headgate.cli.kb:kb", help="Knowledge bases with versions: push, search, promote, impact."),
    "model": Entry(target="headgate.cli.model:model", help="Classic models: register, promote, roll back."),
    "label": Entry(target="headgate.cli.label:label", help="Ground truth of predictions."),
    "dataset": Entry(target="headgate.cli.dataset:dataset", help="Cases of evaluations, as versions by content."),
    "eval": Entry(target="headgate.cli.eval:evaluation", help="Evaluations: run suites, gate, compare, report."),
    "judge": Entry(target="headgate.cli.judge:judge", help="Judges against people's labels: calibrate, card."),
    "score": Entry(
        target="headgate.cli.score:score", help="Judgements of requests: push thumbs, ratings, corrections."
    ),
    "sql": Entry(target="headgate.cli.sql:sql", help="One read-only SELECT over the log."),
    "key": Entry(target="headgate.cli.keys:key", help="API keys: create, list, revoke, rotate."),
    "history": Entry(target="headgate.cli.history:history", help="Who changed what, when and why."),
}


@click.group(
    cls=LazyGroup,
    entries=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 done, 1 a fault was found, a gate failed or a move refused, 2 usage or configuration, "
    "3 inconclusive, 4 budget reached, 5 upstream or infrastructure, 70 a defect of Headgate, 130 interrupted.",
)
@click.version_option(__version__, message="headgate %(version)s")
@click.option("--debug", is_flag=True, help="Show the traceback of a failure.")
@click.pass_context
def headgate(context: click.Context, debug: bool) -> None:
    """LLMOps observability gateway: point your API base URL at it, and every call is in the log with tokens, cost
    and latency.

    \b
    First minute:
      headgate serve --demo                      no provider key needed
      OPENAI_API_KEY=... headgate serve          OpenAI clients: http://127.0.0.1:4400/v1
                                                 Anthropic clients: http://127.0.0.1:4400
      headgate log tail                          what goes through, as it comes

    \b
    Environment: HEADGATE_URL (default http://127.0.0.1:4400), HEADGATE_API_KEY, HEADGATE_HOME, HEADGATE_CONFIG.
    """
    context.meta["headgate.debug"] = debug


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code. Every failure is one sentence on stderr; a defect of ours (code 70)
    shows its traceback with ``--debug``.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    is_debug = "--debug" in given
    _write_what_the_terminal_can()
    # Uncaught exceptions end here, wherever they come from, instead of in a broad except.
    sys.excepthook = _debug_hook if is_debug else _defect_hook
    try:
        result = headgate.main(args=given, prog_name="headgate", standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("Interrupted.", err=True)
        return EXIT_INTERRUPTED
    except click.ClickException as error:
        return _report_usage(error)
    except HeadgateError as error:
        return report(error, debug=is_debug)
    except SystemExit:
        return 0  # Click's answer to a closed pipe when it notices first; no command of ours raises it.
    except BrokenPipeError:
        # The reader (head, less) has seen enough. Python flushes stdout once more at exit: into nothing.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        return report(_system_error(error), debug=is_debug)
    return result if isinstance(result, int) else 0


def report(error: HeadgateError, *, debug: bool = False) -> int:
    """Prints what happened and what to do, and returns the exit code for it."""
    if debug:
        traceback.print_exception(error)
    click.echo(printable(error.sentence), err=True)
    return exit_code_of(error)


def exit_code_of(error: HeadgateError) -> int:
    """1 for a move that policy refuses, 2 for what the caller can mend (usage, configuration, rights), 5 for what is
    down, 70 for our defects.
    """
    if error.code == "move_refused":
        return EXIT_REFUSED
    if isinstance(error, ConfigurationError | HomeError):
        return EXIT_USAGE
    if error.code == "internal":
        return EXIT_DEFECT
    return EXIT_USAGE if error.status < 500 else EXIT_INFRASTRUCTURE


def _report_usage(error: click.ClickException) -> int:
    if isinstance(error, click.UsageError) and error.ctx is not None:
        click.echo(f"{error.ctx.get_usage()}\nHelp: {error.ctx.command_path} --help\n", err=True)
    click.echo(printable(error.format_message(), keep_lines=True), err=True)
    return EXIT_USAGE


def _system_error(error: OSError) -> HeadgateError:
    where = f" ({error.filename})" if error.filename else ""
    return HeadgateError(f"{error.strerror or error}{where}.", code="system")


def _write_what_the_terminal_can() -> None:
    """Characters the terminal's encoding lacks are written as escapes instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _defect_hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    frames = traceback.extract_tb(trace)
    place = f" ({frames[-1].filename.rpartition('headgate/')[2]}:{frames[-1].lineno})" if frames else ""
    click.echo(
        f"A defect of Headgate: {kind.__name__}: {printable(error)}{place}. "
        "See the traceback: headgate --debug ...; please report it.",
        err=True,
    )
    # Python's exit code after this hook is the one raised in it.
    raise SystemExit(EXIT_DEFECT)


def _debug_hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    traceback.print_exception(kind, error, trace)
    _defect_hook(kind, error, trace)
