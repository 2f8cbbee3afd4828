"""`kmirror sandbox up`: two real Kafka clusters to play with, until Ctrl-C."""

from typing import Annotated, Final

import typer

EAST_PORT: Final = 19092
WEST_PORT: Final = 29092

sandbox_app = typer.Typer(
    help="Two real Kafka clusters on this machine, to try things on.", no_args_is_help=True, rich_markup_mode=None
)


@sandbox_app.command("up")
def up(
    east_port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the cluster east.")] = EAST_PORT,
    west_port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the cluster west.")] = WEST_PORT,
    orders: Annotated[
        int, typer.Option(min=0, help='So many orders a second are written to the topic "orders" in east.')
    ] = 0,
    brokers: Annotated[int, typer.Option(min=1, max=9, help="Brokers of each; on the ports from its own on.")] = 1,
    secure: Annotated[
        bool, typer.Option("--secure", help="With TLS, SASL and ACLs; properties files for clients are written.")
    ] = False,
) -> None:
    """Start two Apache Kafka clusters, east and west, and stop and remove them with Ctrl-C.

    They live in a temporary folder. The first time Apache Kafka is fetched.
    """
    from kmirror.cli.sandbox_up import Wanted, stay_up

    stay_up(Wanted((east_port, west_port), orders, brokers, secure))
