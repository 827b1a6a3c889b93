"""The command line of the cluster: `python3 -m e2e.cluster up|down|tools|status|build|load|kubectl`."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from e2e.cluster import lifecycle, tools
from e2e.cluster.images import build_image, load_images
from e2e.cluster.locations import KUBECONFIG
from e2e.cluster.process import ClusterError
from e2e.cluster.progress import note


def main() -> int:
    """Run one command and return the exit code."""
    if sys.argv[1:2] == ["kubectl"]:
        program = tools.kubernetes() / "kubectl"
        os.execv(program, [str(program), f"--kubeconfig={KUBECONFIG}", *sys.argv[2:]])
    arguments = _parser().parse_args()
    try:
        _carry_out(arguments)
    except ClusterError as error:
        print(f"\n{error}", file=sys.stderr)
        if error.advice:
            print(f"→ {error.advice}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted; the same command goes on where this one stopped", file=sys.stderr)
        return 130
    return 0


def _carry_out(arguments: argparse.Namespace) -> None:
    match arguments.command:
        case "up":
            started = time.monotonic()
            lifecycle.up()
            note(f"the cluster is up after {time.monotonic() - started:.1f} s: export KUBECONFIG={KUBECONFIG}")
            note(f"kubectl and helm: {tools.kubernetes()}, {tools.packaged()}")
        case "down":
            lifecycle.down()
        case "tools":
            lifecycle.prepare()
        case "status":
            print("\n".join(lifecycle.status()))
        case "build":
            build_args = dict(pair.split("=", 1) for pair in arguments.build_arg)
            build_image(arguments.tag, arguments.context, arguments.file, build_args)
        case "load":
            load_images(arguments.image)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python3 -m e2e.cluster", description="The cluster of demo and tests.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("up", help="make sure that the cluster runs")
    commands.add_parser("tools", help="install and build what it is made of, and start nothing")
    commands.add_parser("down", help="end it and leave nothing")
    commands.add_parser("status", help="say what there is")
    build = commands.add_parser("build", help="build an image")
    build.add_argument("tag", help="such as localhost/iris:1")
    build.add_argument("context", type=Path)
    build.add_argument("--file", type=Path, help="the Dockerfile, if not the context's own")
    build.add_argument("--build-arg", action="append", default=[], metavar="NAME=VALUE")
    load = commands.add_parser("load", help="give the cluster images that were built")
    load.add_argument("image", nargs="+")
    commands.add_parser("kubectl", help="run kubectl against the cluster, with all that follows")
    return parser


if __name__ == "__main__":
    sys.exit(main())
