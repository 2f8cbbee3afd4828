"""`kmirror doctor`."""

from collections.abc import Iterable
from types import MappingProxyType
from typing import Annotated, Final

import typer
from rich.text import Text

from kmirror.cli.doctor_rights import show_rights
from kmirror.cli.options import OutputOpt, complete_links
from kmirror.cli.output import Format, out, print_document, rows_of
from kmirror.model.checkup import Finding, Verdict

_STYLES: Final = MappingProxyType({Verdict.OK: "green", Verdict.WARN: "yellow", Verdict.FAIL: "bold red"})


def register(app: typer.Typer) -> None:
    app.command("doctor")(doctor)


def doctor(
    link: Annotated[
        str | None,
        typer.Option("--link", metavar="LINK", help="Only this link.", autocompletion=complete_links),
    ] = None,
    rights: Annotated[
        bool,
        typer.Option("--rights", help="Only the rights of each link, with the commands that grant what is missing."),
    ] = False,
    output: OutputOpt = Format.HUMAN,
) -> None:
    """Look for what is wrong, or soon will be: one line a check, with what to do.

    Looks at folders, disk, runners and mirrors here; at each broker of both clusters, rights, limits of topics, and
    clocks. Changes nothing. Exits with 1 if something failed; a warning is no failure.
    """
    from kmirror.ops.doctor import examine
    from kmirror.state.paths import home

    if rights:
        show_rights(home(), link, output)
        return
    findings: list[Finding] = []
    for finding in examine(home(), link):
        findings.append(finding)
        if output is Format.HUMAN:
            out().print(_line(finding, findings[:-1]), soft_wrap=True)  # at once: a cluster that is down takes a while
    if output is not Format.HUMAN:
        print_document(rows_of(findings), output)
    failed = _count(findings, Verdict.FAIL)
    if output is Format.HUMAN:
        warned = _count(findings, Verdict.WARN)
        summary = f"\n{len(findings)} checks: {failed} failed, {warned} with a warning."
        out().print(Text(summary, style=_STYLES[Verdict.FAIL if failed else Verdict.WARN if warned else Verdict.OK]))
    if failed:
        raise typer.Exit(1)


def _line(finding: Finding, before: list[Finding]) -> Text:
    text = Text()
    if finding.link_name and (not before or before[-1].link_name != finding.link_name):
        text.append(f"\nlink {finding.link_name}\n", style="bold")
    text.append(f"{finding.result:<5}", style=_STYLES[finding.result])
    text.append(f"{finding.check} {finding.subject}: {finding.message}")
    if finding.action:
        text.append(f"\n     -> {finding.action}")
    return text


def _count(findings: Iterable[Finding], verdict: Verdict) -> int:
    return sum(finding.result is verdict for finding in findings)
