"""`modelport router`: models for the policy `auto`. What it does stands in `proxy.cli.training`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from proxy.cli.options import Json, command

app = typer.Typer()
router_app = typer.Typer(help="Models for the policy auto: train, look, measure.", no_args_is_help=True)
app.add_typer(router_app, name="router")

Samples = Annotated[
    list[str], typer.Argument(metavar="DATA", help="Labelled outcomes, JSON Lines, also gzip; - is standard input.")
]


@router_app.command("train")
@command
def router_train(
    data: Samples,
    *,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Where the model goes.")] = Path("router.model"),
    as_json: Json = False,
) -> None:
    """Train a model from labelled outcomes; a route uses it by `auto = { model = "router.model" }`."""
    from proxy.cli import training  # training brings what no other command needs

    training.train(data, out, as_json=as_json)


@router_app.command("show")
@command
def router_show(
    model: Annotated[Path, typer.Argument(metavar="FILE", help="A model.")] = Path("router.model"),
    *,
    as_json: Json = False,
) -> None:
    """Say which targets a model knows, and what it was trained from."""
    from proxy.cli import training  # as above

    training.show(model, as_json=as_json)


@router_app.command("eval")
@command
def router_eval(
    data: Samples,
    *,
    folds: Annotated[int, typer.Option("--folds", min=2, max=20, help="Parts, each held out once.")] = 5,
    target: Annotated[
        list[str] | None, typer.Option("--target", metavar="NAME", help="Choose among these. Repeatable.")
    ] = None,
    weak: Annotated[str | None, typer.Option("--weak", metavar="NAME", help="The cheap target of the pair.")] = None,
    strong: Annotated[str | None, typer.Option("--strong", metavar="NAME", help="The dear one.")] = None,
    as_json: Json = False,
) -> None:
    """Measure what a model trained on this data would reach on requests that it has not seen."""
    from proxy.cli import training  # as above

    training.evaluate(data, count=folds, targets=target or (), weak=weak, strong=strong, as_json=as_json)
