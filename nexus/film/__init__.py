"""A storyboard in, a mixed and subtitled film out."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nexus.film.rendering import FilmResult, render

__all__ = ["FilmResult", "render"]


def __getattr__(name: str) -> Any:
    """`render` is imported when it is first used, so that importing a part of the room stays light."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module("nexus.film.rendering"), name)
