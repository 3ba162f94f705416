"""The pictures of the pages in `docs`, drawn when the docs are built: `make docs`, or `python -m pictures NAME`."""
