"""The look of `--help`: flags without a type, and examples as they are typed."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand, TyperGroup, TyperOption


class HelpfulCommand(TyperCommand):
    """A command whose flags are not shown as taking a value."""

    def get_params(self, ctx: Any) -> Any:
        return _without_flag_types(super().get_params(ctx))

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return the words of the usage line; a metavar of several words stands as it is written."""
        pieces = super().collect_usage_pieces(ctx)
        for param in self.params:
            if param.metavar and " " in param.metavar:
                pieces = [param.metavar if param.metavar in piece else piece for piece in pieces]
        return pieces


class HelpfulGroup(TyperGroup):
    """A group of commands whose flags are not shown as taking a value."""

    def get_params(self, ctx: Any) -> Any:
        return _without_flag_types(super().get_params(ctx))


def _without_flag_types(params: Any) -> Any:
    for param in params:
        if isinstance(param, TyperOption) and param.is_flag and param.metavar is None:
            param.metavar = ""
    return params
