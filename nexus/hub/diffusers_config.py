"""Settings of diffusers' `config.json` files that our classes have built in."""

from collections.abc import Mapping
from typing import Any


def refuse_others(raw: Mapping[str, Any], built_in: Mapping[str, Any], where: str) -> None:
    """Raises ValueError for a setting with another value than the one our class has; settings left out are as ours."""
    for name, value in built_in.items():
        if raw.get(name, value) != value:
            raise ValueError(f"{where}/config.json: {name} = {raw[name]!r} is another network; known is {value!r}")
