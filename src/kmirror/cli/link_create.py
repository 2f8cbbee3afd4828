"""`kmirror link create`."""

from collections.abc import Mapping
from typing import Annotated

import typer

from kmirror.cli.options import ConfigOpt, OutputOpt
from kmirror.cli.output import Format, note, print_document, say
from kmirror.errors import UsageError
from kmirror.model.link import DESTINATION_PREFIX, GapFill

_EPILOG = (
    "Example:\n\n"
    "  kmirror link create east-west --source-bootstrap-server east:9092 --destination-bootstrap-server west:9092"
)


_WAYS = {
    GapFill.MARKERS: "markers",
    GapFill.TRANSACTIONS: "empty transactions",
}


KeyOpt = Annotated[str | None, typer.Option(metavar="KEY", help="SASL_SSL with PLAIN: the name. With its secret.")]
SecretOpt = Annotated[
    str | None,
    typer.Option(metavar="SECRET", help="The password; better `${env:NAME}` or `${file:/path}`, in single quotes."),
]


def _api_keys(given: Mapping[str, tuple[str | None, str | None]]) -> dict[str, tuple[str, str]]:
    """By the prefix of the side's configurations; raises UsageError where one of two is missing."""
    found = {}
    for side, (key, secret) in given.items():
        if (key is None) != (secret is None):
            raise UsageError(
                f"`--{side}-api-key` and `--{side}-api-secret` must be supplied together", hint="Give both, or none."
            )
        if key is not None and secret is not None:
            found["" if side == "source" else DESTINATION_PREFIX] = (key, secret)
    return found


def register(app: typer.Typer) -> None:
    app.command("create", epilog=_EPILOG)(create)


def create(
    name: Annotated[str, typer.Argument(metavar="LINK", help="Name of the new link.")],
    *,
    source: Annotated[
        str | None,
        typer.Option(
            "--source-bootstrap-server",
            "--source-bootstrap-servers",
            metavar="HOST:PORT,..",
            help="Brokers of the cluster to copy from.",
        ),
    ] = None,
    destination: Annotated[
        str | None,
        typer.Option(
            "--destination-bootstrap-server",
            "--destination-bootstrap-servers",
            metavar="HOST:PORT,..",
            help="Brokers of the cluster to copy to.",
        ),
    ] = None,
    source_api_key: KeyOpt = None,
    source_api_secret: SecretOpt = None,
    destination_api_key: KeyOpt = None,
    destination_api_secret: SecretOpt = None,
    config: ConfigOpt = [],  # noqa: B006 - Typer copies it
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Validate the link, but do not create it.")] = False,
    print_acls: Annotated[
        bool, typer.Option("--print-acls", help="Only print the commands that grant what the link needs.")
    ] = False,
    no_validate: Annotated[
        bool, typer.Option("--no-validate", help="Create the link without asking the clusters anything.")
    ] = False,
    output: OutputOpt = Format.HUMAN,
) -> None:
    """Create a link between two clusters.

    Both are asked for their cluster ids, and the destination for how gaps in the offsets can be filled there.

    --config says how they are reached: security.protocol, sasl.* and ssl.* as in Kafka's clients, with the prefix
    "destination." for the cluster to copy to. The API keys are short for SASL_SSL with PLAIN.
    """
    from kmirror.ops.link_create import create_link
    from kmirror.ops.link_rights import printed_acls
    from kmirror.ops.link_view import shown_configs
    from kmirror.state.paths import home

    keys = _api_keys(
        {
            "source": (source_api_key, source_api_secret),
            "destination": (destination_api_key, destination_api_secret),
        }
    )
    if print_acls:
        for line in printed_acls(name, source, destination, config, keys):
            say(line)
        return
    made = create_link(
        home(),
        name,
        source=source,
        destination=destination,
        config=config,
        keys=keys,
        dry_run=dry_run,
        validate=not no_validate,
    )
    for warning in made.warnings:
        note(f"Warning: {warning}.")
    way = made.link.gap_fill
    if made.asked and way.pace:
        note(f"Offsets without a record are filled by {_WAYS[way]}, {way.pace}.")
    configs = shown_configs(made.link)
    if output is not Format.HUMAN:
        document = {
            "link_name": made.link.name,
            "link_id": made.link.link_id,
            "source_cluster": made.link.source_cluster_id,
            "destination_cluster": made.link.destination_cluster_id,
            "gap_fill": str(made.link.gap_fill),
            "dry_run": not made.stored,
            "configs": configs,
        }
        print_document(document, output)
        return
    say(f'{"" if made.stored else "[DRY RUN] "}Created cluster link "{name}" with configs:')
    for key, value in configs.items():
        say(f'"{key}"="{value}"')
    say("")
