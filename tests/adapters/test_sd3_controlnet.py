"""ControlNets of Stable Diffusion 3 and 3.5 against diffusers' on random weights, beside the network and alone."""

import pytest
import torch
from learning import assert_learns_alone
from references import assert_same, randomised, renamed
from safetensors.torch import save_file
from test_mmdit import TINY, answer, inputs, reference

from nexus.adapters.block_controlnet import grow, spread
from nexus.adapters.sd3_controlnet import (
    SD3ControlNet,
    SD3ControlNetConfig,
    SD35ControlNet,
    SD35ControlNetConfig,
    for_blocks,
)
from nexus.hub import sd3_controlnet
from nexus.hub.load import kind_of, load
from nexus.hub.mmdit import load_folder
from nexus.hub.source import Source
from nexus.models.diffusion.mmdit import MMDiT, MMDiTConfig

diffusers = pytest.importorskip("diffusers")

SETTINGS = {n: v for n, v in TINY.items() if n not in ("out_channels", "caption_projection_dim")} | {"num_layers": 2}
KINDS = {
    "instantx": {"caption_projection_dim": 16},
    "with-a-summary": {"caption_projection_dim": 16, "force_zeros_for_pooled_projection": False},
    "for-3.5-medium": {"caption_projection_dim": 16, "qk_norm": "rms_norm", "dual_attention_layers": (0,)},
    "3.5-large": {
        "joint_attention_dim": None,
        "use_pos_embed": False,
        "pos_embed_type": None,
        "force_zeros_for_pooled_projection": False,
        "num_attention_heads": 2,
    },
}


def control_of(kind, **more):
    network = randomised(diffusers.SD3ControlNetModel(**(SETTINGS | KINDS[kind] | more)))
    if network.pos_embed is not None:
        with torch.no_grad():
            network.pos_embed.pos_embed.add_(0.1 * torch.randn_like(network.pos_embed.pos_embed))
    return network


def theirs_of(control, base, seen):
    """What the reference's ControlNet finds, as its pipeline asks it, and what the base says with that."""
    x, time, text, summary = inputs()
    lone = control.config.joint_attention_dim is None
    told = 0 * summary if control.config.force_zeros_for_pooled_projection else summary
    found = control(
        base.pos_embed(x) if lone else x,
        controlnet_cond=seen,
        encoder_hidden_states=None if lone else text,
        pooled_projections=told,
        timestep=time,
        return_dict=False,
    )[0]
    said = base(
        x, timestep=time, encoder_hidden_states=text, pooled_projections=summary, block_controlnet_hidden_states=found
    ).sample
    return found, said


def ours_of(control, base, seen):
    x, time, text, summary = inputs()
    lone = isinstance(control, SD35ControlNet)
    found = control(base.patches(x), time, summary, seen) if lone else control(x, time, text, summary, seen)
    return found, base(x, time, text, summary, for_blocks(found, base))


@pytest.mark.parametrize("kind", KINDS)
def test_equals_the_reference(kind, tmp_path):
    """Two blocks' findings, each for several of a base of five."""
    control, base = control_of(kind), reference(num_layers=5)
    control.save_pretrained(tmp_path / "control")
    base.save_pretrained(tmp_path / "base")
    torch.manual_seed(7)
    seen = torch.randn(2, 4, 6, 10)
    assert kind_of(tmp_path / "control") == ("SD35ControlNet" if kind == "3.5-large" else "SD3ControlNet")
    with torch.no_grad():
        found, said = theirs_of(control, base, seen)
        ours = ours_of(load(tmp_path / "control", device="cpu"), load_folder(Source("x", tmp_path / "base")), seen)
        for mine, other in zip(ours[0], found, strict=True):
            assert_same(mine, other)
        assert_same(ours[1], said)
        assert (said - answer(base, *inputs())).abs().max() > 0.1
        assert (said - theirs_of(control, base, -seen)[1]).abs().max() > 1e-2


def original_state(control):
    """Stability's file: blocks under the first names of the MM-DiT, the rest under diffusers'."""
    state, names = control.state_dict(), {}
    for i in range(len(control.transformer_blocks)):
        block = f"transformer_blocks.{i}"
        for half in ("weight", "bias"):
            names |= {
                f"{block}.attn.qkv.{half}": tuple(f"{block}.attn.to_{part}.{half}" for part in "qkv"),
                f"{block}.attn.proj.{half}": f"{block}.attn.to_out.0.{half}",
                f"{block}.adaLN_modulation.1.{half}": f"{block}.norm1.linear.{half}",
                f"{block}.mlp.fc1.{half}": f"{block}.ff.net.0.proj.{half}",
                f"{block}.mlp.fc2.{half}": f"{block}.ff.net.2.{half}",
            }
    names |= {name: name for name in state if not name.startswith("transformer_blocks")}
    return renamed(state, names)


@pytest.mark.parametrize("control_type", [1, 2])
def test_stabilitys_file(control_type, tmp_path):
    """Its heads are of 64, and `control_type` says whether pictures are of canny edges."""
    control = control_of("3.5-large", attention_head_dim=64)
    file = tmp_path / "control.safetensors"
    save_file(original_state(control) | {"control_type": torch.tensor([control_type], dtype=torch.int32)}, file)
    ours = load(file, device="cpu")
    assert ours.control.wide_pictures == (control_type == 1)
    control.save_pretrained(tmp_path / "folder")
    folder = load(tmp_path / "folder", device="cpu")
    assert folder.state_dict().keys() == ours.state_dict().keys()
    assert all(torch.equal(tensor, ours.state_dict()[name]) for name, tensor in folder.state_dict().items())


def test_canny_edges_of_3_5_large_are_known_by_the_folders_name(tmp_path):
    control_of("3.5-large").save_pretrained(tmp_path)
    assert sd3_controlnet.load(Source("stabilityai/stable-diffusion-3.5-large-controlnet-canny", tmp_path)).control
    for name in ("canny", "depth"):
        control = sd3_controlnet.load(Source(f"stabilityai/stable-diffusion-3.5-large-controlnet-{name}", tmp_path))
        assert control.control.wide_pictures == (name == "canny")


@pytest.mark.parametrize("kind", ["instantx", "3.5-large"])
def test_other_settings_and_tensors_are_refused(kind, tmp_path):
    control = control_of(kind)
    control.register_to_config(extra_conditioning_channels=1)
    control.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="extra_conditioning_channels = 1"):
        load(tmp_path, device="cpu")
    control.register_to_config(extra_conditioning_channels=0, num_layers=3)
    control.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"missing: .*blocks\.2"):
        load(tmp_path, device="cpu")


def test_findings_are_spread_evenly():
    found = [torch.full((1, 1, 1), float(i)) for i in range(3)]
    assert [int(x) for x in spread(found, 7)] == [0, 0, 0, 1, 1, 2, 2]
    assert [int(x) for x in spread(found, 3)] == [0, 1, 2]


def test_a_fresh_one_adds_nothing_and_learns_alone():
    """Grown from the base: it says what the base says; then it alone changes, and the error falls."""
    torch.manual_seed(0)
    sizes = dict(n_heads=2, head_dim=8, in_channels=4, out_channels=4, text_dim=24, summary_dim=20, sample_size=8)
    base = randomised(MMDiT(MMDiTConfig(n_layers=4, max_patches=12, **sizes))).requires_grad_(False)
    network = MMDiTConfig(n_layers=2, max_patches=12, **sizes)
    control = SD3ControlNet(SD3ControlNetConfig(network=network, plain=False))
    grow(control, base)
    assert torch.equal(control.blocks[1].picture.heads.qkv.weight, base.blocks[1].picture.heads.qkv.weight)
    x, time, text, summary = inputs()
    seen = torch.randn(2, 4, 6, 10)
    wanted = base(x, time, text, summary) + 0.3 * seen

    def error():
        said = base(x, time, text, summary, for_blocks(control(x, time, text, summary, seen), base))
        return (said - wanted).square().mean()

    last = control.blocks[-1].text  # whose text goes no further than the block's own attention
    unheard = [*last.out.parameters(), *last.ff.parameters()]
    assert_learns_alone(control, base, error, (0.3 * seen).square().mean(), unheard, n_steps=20)


@pytest.mark.slow
def test_equals_the_reference_at_the_official_widths(tmp_path):
    """One block of each of the official kinds."""
    for i, settings in enumerate(
        (
            {"num_attention_heads": 24, "caption_projection_dim": 1536, "joint_attention_dim": 4096},
            {"num_attention_heads": 38, "joint_attention_dim": None, "use_pos_embed": False, "pos_embed_type": None}
            | {"force_zeros_for_pooled_projection": False},
        )
    ):
        control = diffusers.SD3ControlNetModel(
            num_layers=1, attention_head_dim=64, pooled_projection_dim=2048, pos_embed_max_size=192, **settings
        )
        control = randomised(control, 0.02)
        control.save_pretrained(tmp_path / str(i))
        ours = load(tmp_path / str(i), device="cpu")
        x, seen, summary, time = torch.randn(1, 16, 16, 24), torch.randn(1, 16, 16, 24), torch.randn(1, 2048), [871.0]
        time = torch.tensor(time)
        with torch.no_grad():
            if isinstance(ours, SD35ControlNet):
                patches = torch.randn(1, 96, 38 * 64)
                theirs = control(patches, seen, pooled_projections=summary, timestep=time, return_dict=False)[0]
                found = ours(patches, time, summary, seen)
            else:
                text = torch.randn(1, 30, 4096)
                asked = dict(encoder_hidden_states=text, pooled_projections=0 * summary, timestep=time)
                theirs = control(x, seen, **asked, return_dict=False)[0]
                found = ours(x, time, text, summary, seen)
        assert_same(found[0], theirs[0])


def test_the_official_sizes():
    with torch.device("meta"):
        ours = SD35ControlNet(SD35ControlNetConfig())
        theirs = diffusers.SD3ControlNetModel(
            num_layers=19,
            num_attention_heads=38,
            joint_attention_dim=None,
            use_pos_embed=False,
            pos_embed_type=None,
        )
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters())
