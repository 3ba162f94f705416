"""CycleGAN's official checkpoints: `latest_net_G.pth` of a released one-way model, or `latest_net_G_A.pth` and
`latest_net_G_B.pth` of a training run (`70_net_G_A.pth` of an earlier epoch); a folder of them, or one file.

Their layers are numbered through, those without tensors too, so numbers depend on how many blocks there are.
"""

import re
from dataclasses import replace
from pathlib import Path

from nexus.hub.source import Source
from nexus.hub.tensors import State, drop, load_strict, read_tensors, rename
from nexus.models.gan.cycle_gan import WAYS, CycleGAN, CycleGANConfig, Way

# G_A of their code is the paper's G, from A to B; a released model goes one way, wherever that leads.
_FILES: dict[str, Way] = {"G": "to_b", "G_A": "to_b", "G_B": "to_a"}
_NAME = re.compile(r"^(.+)_net_(G|G_A|G_B)\.pth$")
_FIRST_BLOCK = 10


def recognise(source: Source) -> bool:
    return bool(_files(source))


def kind(source: Source) -> str:
    return CycleGAN.__name__


def load(source: Source) -> CycleGAN:
    """Both ways where both are there; of several epochs, "latest" or the last."""
    states = {_FILES[name]: read_tensors(path) for name, path in _files(source).items()}
    configs = {way: config_of(state, source.name) for way, state in states.items()}
    first = next(iter(configs.values()))
    if any(config != first for config in configs.values()):
        raise ValueError(f"{source.name}: the two generators differ in size: {configs}")
    model = CycleGAN(replace(first, ways=tuple(way for way, _ in WAYS if way in states)))
    for way, state in states.items():
        load_strict(model.get_submodule(way), translate(state, first.n_blocks), f"{source.name} ({way})")
    return model


def translate(state: State, n_blocks: int) -> State:
    """Under our names, without the running statistics that old instance norms kept and never used."""
    after = _FIRST_BLOCK + n_blocks
    numbers = {1: "conv_in", 4: "down.0", 7: "down.1", after: "up.0", after + 3: "up.1", after + 7: "conv_out"}
    numbers |= {_FIRST_BLOCK + i: f"blocks.{i}" for i in range(n_blocks)}
    kept = drop(state, r"\.(running_mean|running_var|num_batches_tracked)$")
    second = max((int(found[1]) for name in kept if (found := re.search(r"conv_block\.(\d+)\.", name))), default=5)
    rules = [(rf"^model\.{number}\.", f"{name}.") for number, name in numbers.items()]
    # With dropout, which leaves no tensors, the second convolution is number 6.
    return rename(kept, [*rules, (r"\.conv_block\.1\.", ".conv1."), (rf"\.conv_block\.{second}\.", ".conv2.")])


def config_of(state: State, where: str) -> CycleGANConfig:
    """Read off the tensors.

    Raises:
        ValueError: another network (pix2pix's U-Net), or one with batch norm.
    """
    blocks = {name.split(".")[1] for name in state if ".conv_block." in name}
    first = state.get("model.1.weight")
    if first is None or first.shape[2:] != (7, 7) or not blocks:
        raise ValueError(f"{where}: expected the residual generator of CycleGAN (--netG resnet_9blocks or 6)")
    if "model.2.weight" in state:
        raise ValueError(f"{where}: this generator has batch norm; only instance norm (--norm instance) is known")
    return CycleGANConfig(channels=first.shape[1], dim=first.shape[0], n_blocks=len(blocks))


def _files(source: Source) -> dict[str, Path]:
    """The generators' files by their letters: those of the last epoch, of which "latest" comes last."""
    paths = source.path.glob("*_net_G*.pth") if source.is_folder else [source.path]
    found: dict[str, dict[str, Path]] = {}
    for path in paths:
        if name := _NAME.match(path.name):
            found.setdefault(name[1], {})[name[2]] = path
    if not found:
        return {}
    epochs = sorted(found, key=lambda epoch: (epoch == "latest", int(epoch) if epoch.isdigit() else -1))
    files = found[epochs[-1]]
    return {"G": files["G"]} if "G" in files else files
