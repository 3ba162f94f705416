"""What tests against references share: weights that matter everywhere, and comparisons that could fail."""

import torch


def randomised(network, scale=0.1):
    """Adds noise to every parameter, those that start at zero too, so that nothing is left out of a comparison."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(scale * torch.randn_like(parameter))
    return network.eval()


def assert_same(ours, theirs, atol=1e-5, rtol=1e-4):
    """`atol` counts in the largest value, where that is above 1."""
    assert theirs.std() > 0.1
    torch.testing.assert_close(ours, theirs, atol=atol * max(1.0, theirs.abs().max().item()), rtol=rtol)


def renamed(state, names):
    """The tensors under an original file's names; a tuple of old names is a layer that they are rows of."""
    old = {old for parts in names.values() for old in ([parts] if isinstance(parts, str) else parts)}
    assert old == set(state), sorted(old ^ set(state))
    return {
        new: (state[parts] if isinstance(parts, str) else torch.cat([state[part] for part in parts])).clone()
        for new, parts in names.items()
    }
