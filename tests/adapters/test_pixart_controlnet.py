"""PixArt's ControlNet: diffusers' transformer blocks walked as arXiv:2401.05252 (section 4) says, on random weights.

The reference class is an example beside diffusers, not in the package; its blocks are the package's.
"""

import pytest
import torch
from learning import assert_learns_alone
from references import assert_same, randomised, renamed
from torch import nn

from nexus.adapters.block_controlnet import grow
from nexus.adapters.pixart_controlnet import PixArtControlNet, PixArtControlNetConfig
from nexus.hub.load import kind_of, load
from nexus.hub.pixart import load_transformer
from nexus.hub.source import Source
from nexus.models.diffusion.pixart_transformer import PixArtTransformer, PixArtTransformerConfig

diffusers = pytest.importorskip("diffusers")

SIZES = dict(num_attention_heads=2, attention_head_dim=72, in_channels=4, out_channels=8, patch_size=2)
SIZES |= dict(cross_attention_dim=144, caption_channels=20, sample_size=8)


class Copy(nn.Module):
    """A block with the example's names of its layers."""

    def __init__(self, block, first):
        super().__init__()
        self.transformer_block, self.after_proj = block, nn.Linear(144, 144)
        if first:
            self.before_proj = nn.Linear(144, 144)


def reference(n_layers=4, n_copies=2, **settings):
    base = randomised(diffusers.PixArtTransformer2DModel(**(SIZES | {"num_layers": n_layers} | settings)))
    blocks = diffusers.PixArtTransformer2DModel(**(SIZES | {"num_layers": n_copies})).transformer_blocks
    control = nn.Module()
    control.controlnet_blocks = nn.ModuleList(Copy(block, i == 0) for i, block in enumerate(blocks))
    return base, randomised(control)


def inputs():
    torch.manual_seed(2)
    mask = torch.ones(2, 7).bool()
    mask[1, 4:] = False
    return torch.randn(2, 4, 6, 10), torch.tensor([3, 900]), torch.randn(2, 7, 20), mask


def theirs_of(base, control, seen, size):
    """The copies walk beside the base: before block i + 1 comes what copy i gives."""
    x, time, text, mask = inputs()
    n, copies, walk = base.config.num_layers, control.controlnet_blocks if control is not None else (), {}
    hooks = []
    for i in range(1, n):
        if i > len(copies):
            continue

        def before(block, given, kwargs, i=i):
            state, copy = given[0], copies[i - 1]
            beside = state + copy.before_proj(base.pos_embed(seen)) if i == 1 else walk["beside"]
            walk["beside"] = copy.transformer_block(beside, *given[1:], **kwargs)
            return (state + copy.after_proj(walk["beside"]), *given[1:]), kwargs

        hooks.append(base.transformer_blocks[i].register_forward_pre_hook(before, with_kwargs=True))
    resolution, aspect_ratio = (None, None) if size is None else (size, size[:, :1] / size[:, 1:])
    added = {"resolution": resolution, "aspect_ratio": aspect_ratio}
    told = dict(encoder_hidden_states=text, timestep=time, encoder_attention_mask=mask)
    said = base(x, added_cond_kwargs=added, **told).sample
    for hook in hooks:
        hook.remove()
    return said


def example_folder(control, folder):
    from safetensors.torch import save_file

    folder.mkdir()
    save_file(control.state_dict(), folder / "diffusion_pytorch_model.safetensors")
    (folder / "config.json").write_text('{"_class_name": "PixArtControlNetAdapterModel", "num_layers": 2}')


@pytest.mark.parametrize("sized", [False, True], ids=["512", "1024"])
def test_equals_the_references_blocks(sized, tmp_path):
    more = {"sample_size": 128, "interpolation_scale": 2, "use_additional_conditions": True} if sized else {}
    base, control = reference(**more)
    base.save_pretrained(tmp_path / "base")
    example_folder(control, tmp_path / "control")
    assert kind_of(tmp_path / "control") == "PixArtControlNet"
    ours, ours_base = load(tmp_path / "control", device="cpu"), load_transformer(Source("x", tmp_path / "base"))
    (x, time, text, mask), seen = inputs(), torch.randn(2, 4, 6, 10)
    size = torch.tensor([[48.0, 80.0], [100.0, 33.0]]) if sized else None
    with torch.no_grad():
        theirs = theirs_of(base, control, seen, size)
        found = ours(ours_base, x, time, ours.text_keys(ours_base, text), seen, mask, size)
        assert_same(ours_base(x, time, text, mask, size, ours.for_blocks(found, ours_base)), theirs)
        assert (theirs - theirs_of(base, None, seen, size)).abs().max() > 0.1
        assert (theirs - theirs_of(base, control, -seen, size)).abs().max() > 1e-2


def test_the_authors_file(tmp_path):
    """Their names of layers; the base that is in it too is left out."""
    _, control = reference()
    state, names = control.state_dict(), {}
    for i in range(2):
        new, old = f"controlnet.{i}", f"controlnet_blocks.{i}"
        block = {f"{new}.copied_block.scale_shift_table": f"{old}.transformer_block.scale_shift_table"}
        for half in ("weight", "bias"):
            first, inner = f"{new}.copied_block", f"{old}.transformer_block"
            block |= {
                f"{first}.attn.qkv.{half}": tuple(f"{inner}.attn1.to_{part}.{half}" for part in "qkv"),
                f"{first}.attn.proj.{half}": f"{inner}.attn1.to_out.0.{half}",
                f"{first}.cross_attn.q_linear.{half}": f"{inner}.attn2.to_q.{half}",
                f"{first}.cross_attn.kv_linear.{half}": tuple(f"{inner}.attn2.to_{part}.{half}" for part in "kv"),
                f"{first}.cross_attn.proj.{half}": f"{inner}.attn2.to_out.0.{half}",
                f"{first}.mlp.fc1.{half}": f"{inner}.ff.net.0.proj.{half}",
                f"{first}.mlp.fc2.{half}": f"{inner}.ff.net.2.{half}",
                f"{new}.after_proj.{half}": f"{old}.after_proj.{half}",
            }
            if i == 0:
                block[f"{new}.before_proj.{half}"] = f"{old}.before_proj.{half}"
        names |= block
    content = renamed(state, names) | {"base_model.x_embedder.proj.weight": torch.zeros(1)}
    torch.save({"state_dict": content, "epoch": 1}, tmp_path / "PixArt-XL-2-512-ControlNet.pth")
    example_folder(control, tmp_path / "folder")
    ours = load(tmp_path / "PixArt-XL-2-512-ControlNet.pth", device="cpu").state_dict()
    assert all(torch.equal(t, ours[name]) for name, t in load(tmp_path / "folder", device="cpu").state_dict().items())


def test_a_fresh_one_adds_nothing_and_learns_alone():
    torch.manual_seed(0)
    sizes = dict(n_heads=2, head_dim=8, text_dim=20, out_channels=4, sample_size=8)
    base = randomised(PixArtTransformer(PixArtTransformerConfig(n_layers=3, **sizes))).requires_grad_(False)
    control = PixArtControlNet(PixArtControlNetConfig(network=PixArtTransformerConfig(n_layers=2, **sizes)))
    grow(control, base)
    assert torch.equal(control.blocks[1].table, base.blocks[1].table)
    (x, time, text, mask), seen = inputs(), torch.randn(2, 4, 6, 10)
    wanted = base(x, time, text, mask) + 0.3 * seen

    def error():
        found = control(base, x, time, control.text_keys(base, text), seen, mask)
        return (base(x, time, text, mask, beside=control.for_blocks(found, base)) - wanted).square().mean()

    assert_learns_alone(control, base, error, (0.3 * seen).square().mean())


def test_what_is_none_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"_class_name": "PixArtControlNetAdapterModel"}')
    torch.save({"a": torch.zeros(1)}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match="no ControlNet of PixArt"):
        load(tmp_path, device="cpu")
