"""`anybench`: the command line.

Exit status: 0 all that was asked for is there, 2 usage, 3 something asked for is absent; 1 is never ours.
Results go to stdout, everything else to stderr.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from harness.errors import UsageError
from runners import catalogue, folders, options, reporting, running

INTERRUPTED = 130
PIPE_CLOSED = 141


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        parser, commands = _parser()
        if given and given[0] in commands:
            options.set_defaults_from_elsewhere(commands[given[0]], given[1:])
        asked = parser.parse_args(given)
        status: int = asked.command(asked)
        return status
    except UsageError as error:
        print(f"anybench: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        print("anybench: interrupted; what was computed is kept, and the same line goes on from there", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        sys.stdout = None  # nobody reads it, and Python would flush it once more
        return PIPE_CLOSED


def _parser() -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    parser = options.Parser(prog="anybench", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    commands: dict[str, argparse.ArgumentParser] = {}
    for room in (running, folders, reporting, catalogue):
        for name, help_line, add_arguments, command in room.COMMANDS:
            commands[name] = subparsers.add_parser(name, help=help_line, description=help_line)
            add_arguments(commands[name])
            commands[name].set_defaults(command=command)
    return parser, commands


if __name__ == "__main__":
    sys.exit(main())
