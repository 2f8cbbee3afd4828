"""`kmirror demo`: the words of the command. What it does is in demo_story, imported only when it is wanted."""

from typing import Annotated

import typer


def demo(
    seconds: Annotated[int, typer.Option(min=1, help="How long the live view is shown.")] = 10,
) -> None:
    """Mirror a topic between two real Kafka clusters on this machine, compare both, let a consumer group move over.

    Starts Apache Kafka twice in a temporary folder (the first time it is fetched), runs the commands of the README and
    prints each before it runs it, and removes everything at the end. Ctrl-C ends it at any moment.
    """
    from kmirror.cli.demo_story import play

    if not play(seconds):
        raise typer.Exit(3)
