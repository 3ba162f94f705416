"""Draws pictures and says where they are.

python -m pictures [--full] [NAME …]
"""

import sys

from pictures.all import PICTURES
from pictures.registry import make


def main(names: list[str], full: bool) -> None:
    unknown = sorted(set(names) - set(PICTURES))
    if unknown:
        raise SystemExit(f"there is no picture {unknown[0]!r}; there are {', '.join(PICTURES)}")
    for name in names or PICTURES:
        print(make(name, PICTURES[name], "full" if full else "brief").file, flush=True)


if __name__ == "__main__":
    main([word for word in sys.argv[1:] if word != "--full"], "--full" in sys.argv)
