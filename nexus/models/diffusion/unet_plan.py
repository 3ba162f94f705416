"""The plan that all U-Nets share: which widths its residual blocks have on the way down and, with skips, up again."""

Widths = list[list[tuple[int, int]]]  # for each size, for each block: channels in and out


def widths(dims: tuple[int, ...], n_blocks: int) -> tuple[Widths, Widths]:
    """Widths down and up, for each size in the order in which data meets it.

    A skip leaves the first convolution, every block and every change of size on the way down; each block on the way up,
    of which there is one more at each size, takes the newest of them.
    """
    down: Widths = []
    skips, width = [dims[0]], dims[0]
    for i, dim in enumerate(dims):
        down.append([(width, dim), *[(dim, dim)] * (n_blocks - 1)])
        skips += [dim] * (n_blocks + (i < len(dims) - 1))
        width = dim
    up: Widths = []
    for dim in reversed(dims):
        up.append([])
        for _ in range(n_blocks + 1):
            up[-1].append((width + skips.pop(), dim))
            width = dim
    return down, up
