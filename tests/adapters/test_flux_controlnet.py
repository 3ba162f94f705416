"""ControlNets of FLUX against diffusers' on random weights, beside the network and alone."""

import pytest
import torch
from einops import rearrange
from learning import assert_learns_alone
from references import assert_same, randomised, renamed
from safetensors.torch import save_file
from test_flux_transformer import GUIDANCE, TINY, answer, inputs, original_names, reference

from nexus.adapters.block_controlnet import grow
from nexus.adapters.flux_controlnet import FluxControlNet, FluxControlNetConfig, in_rows
from nexus.hub.flux_transformer import load_folder
from nexus.hub.load import kind_of, load
from nexus.hub.source import Source
from nexus.models.diffusion.flux_transformer import FluxTransformer, FluxTransformerConfig

diffusers = pytest.importorskip("diffusers")

pytestmark = pytest.mark.filterwarnings("ignore:.FluxPosEmbed. is deprecated:FutureWarning")  # the reference's own

KINDS = {
    "single": {"guidance_embeds": True},
    "unguided": {"num_single_layers": 0},
    "union": {"guidance_embeds": True, "num_mode": 3},
    "xlabs": {
        "guidance_embeds": True,
        "num_single_layers": 0,
        "conditioning_embedding_channels": 4,
        "patch_size": 2,
    },
}


def control_of(kind, **more):
    return randomised(diffusers.FluxControlNetModel(**(TINY | KINDS[kind] | more)))


def packed(x):
    return rearrange(x, "b c (h p) (w q) -> b (h w) (c p q)", p=2, q=2)


def theirs_of(control, base, seen, mode=None):
    """What the reference's ControlNet finds, as its pipeline asks it, and what the base says with that."""
    x, time, text, summary = inputs()
    places = torch.zeros(3, 5, 3)
    places[..., 1] += torch.arange(3)[:, None]
    places[..., 2] += torch.arange(5)
    told = {"img_ids": places.flatten(0, 1), "txt_ids": torch.zeros(text.shape[1], 3), "pooled_projections": summary}
    told |= {"encoder_hidden_states": text, "timestep": time / 1000}
    hint = control.input_hint_block is not None
    double, single = control(
        packed(x),
        controlnet_cond=seen if hint else packed(seen),
        controlnet_mode=None if mode is None else torch.full((2, 1), mode),
        guidance=GUIDANCE if control.config.guidance_embeds else None,
        return_dict=False,
        **told,
    )
    found = dict(controlnet_block_samples=double, controlnet_single_block_samples=single)
    said = base(packed(x), guidance=GUIDANCE, controlnet_blocks_repeat=hint, **found, **told).sample
    return [*double, *(single or [])], rearrange(said, "b (h w) (c p q) -> b c (h p) (w q)", h=3, p=2, q=2)


def ours_of(control, base, seen, mode=None):
    x, time, text, summary = inputs()
    guidance = GUIDANCE if control.config.guidance else None
    if control.hint is not None:
        seen = control.hint(seen)
    found = control(x, time, text, summary, seen, guidance, mode)
    return found, base(x, time, text, summary, GUIDANCE, control.for_blocks(found, base))


@pytest.mark.parametrize("kind", KINDS)
def test_equals_the_reference(kind, tmp_path):
    """Two blocks' findings of each kind, for five of the base's."""
    control, base = control_of(kind), reference(guidance_embeds=True, num_layers=5, num_single_layers=5)
    control.save_pretrained(tmp_path / "control")
    base.save_pretrained(tmp_path / "base")
    torch.manual_seed(7)
    seen = torch.rand(2, 3, 48, 80) if kind == "xlabs" else torch.randn(2, 4, 6, 10)
    mode = 1 if kind == "union" else None
    assert kind_of(tmp_path / "control") == "FluxControlNet"
    with torch.no_grad():
        found, said = theirs_of(control, base, seen, mode)
        own, own_base = load(tmp_path / "control", device="cpu"), load_folder(Source("x", tmp_path / "base"))
        ours = ours_of(own, own_base, seen, mode)
        for mine, other in zip(ours[0], found, strict=True):
            assert_same(mine, other)
        assert_same(ours[1], said)
        assert (said - answer(base, *inputs(), GUIDANCE)).abs().max() > 0.05
        assert (said - theirs_of(control, base, -seen, mode)[1]).abs().max() > 1e-3
        if kind == "union":
            assert (said - theirs_of(control, base, seen, 2)[1]).abs().max() > 1e-3


def test_xlabs_file(tmp_path):
    """Names of `src/flux/controlnet.py`, in which activations of the convolutions are counted."""
    control = control_of("xlabs", attention_head_dim=32, axes_dims_rope=(4, 14, 14))
    names = {new: old for new, old in original_names(control).items() if not new.startswith("final_layer")}
    for half in ("weight", "bias"):
        names |= {f"controlnet_blocks.{i}.{half}": f"controlnet_blocks.{i}.{half}" for i in range(2)}
        names[f"pos_embed_input.{half}"] = f"controlnet_x_embedder.{half}"
        names[f"input_hint_block.0.{half}"] = f"input_hint_block.conv_in.{half}"
        names[f"input_hint_block.14.{half}"] = f"input_hint_block.conv_out.{half}"
        names |= {f"input_hint_block.{2 * i + 2}.{half}": f"input_hint_block.blocks.{i}.{half}" for i in range(6)}
    save_file(renamed(control.state_dict(), names), tmp_path / "flux-canny-controlnet-v3.safetensors")
    control.save_pretrained(tmp_path / "folder")
    ours = load(tmp_path / "flux-canny-controlnet-v3.safetensors", device="cpu")
    folder = load(tmp_path / "folder", device="cpu")
    assert ours.control == folder.control
    assert all(torch.equal(tensor, ours.state_dict()[name]) for name, tensor in folder.state_dict().items())


def test_findings_go_to_blocks_in_a_row():
    found = [torch.full((1, 1, 1), float(i)) for i in range(5)]
    assert [int(x) for x in in_rows(found, 19)] == [i // 4 for i in range(19)]
    assert in_rows([], 3) == [None, None, None]


def test_a_fresh_one_adds_nothing_and_learns_alone():
    torch.manual_seed(0)
    sizes = dict(n_heads=2, head_dim=16, in_channels=4, out_channels=4, text_dim=24, summary_dim=20)
    sizes |= dict(rope_dims=(4, 6, 6), guidance=False)
    base = FluxTransformer(FluxTransformerConfig(n_double_layers=2, n_single_layers=2, **sizes))
    randomised(base).requires_grad_(False)
    network = FluxTransformerConfig(n_double_layers=1, n_single_layers=1, **sizes)
    control = FluxControlNet(FluxControlNetConfig(network=network, n_modes=2))
    grow(control, base)
    assert torch.equal(control.single_blocks[0].wide_in.weight, base.single_blocks[0].wide_in.weight)
    x, time, text, summary = inputs()
    seen = torch.randn(2, 4, 6, 10)
    wanted = base(x, time, text, summary) + 0.3 * seen

    def error():
        found = control(x, time, text, summary, seen, mode=1)
        return (base(x, time, text, summary, beside=control.for_blocks(found, base)) - wanted).square().mean()

    assert_learns_alone(control, base, error, (0.3 * seen).square().mean())


def test_bad_input_is_refused(tmp_path):
    network = FluxTransformerConfig(n_double_layers=1, n_single_layers=0, n_heads=2, head_dim=16, rope_dims=(4, 6, 6))
    union = FluxControlNet(FluxControlNetConfig(network=network, n_modes=3))
    for mode, said in ((None, "say which"), (3, "got 3"), (-1, "got -1")):
        with pytest.raises(ValueError, match=rf"has modes 0 to 2 \(0 canny, 1 tile, 2 depth\); {said}"):
            union.check_mode(mode)
    with pytest.raises(ValueError, match="is for one kind of pictures: leave mode out; got 1"):
        FluxControlNet(FluxControlNetConfig(network=network)).check_mode(1)
    with pytest.raises(ValueError, match="one block of two streams at least"):
        FluxControlNetConfig(network=FluxTransformerConfig(n_double_layers=0))
    control_of("single").save_pretrained(tmp_path)
    config = (tmp_path / "config.json").read_text().replace('"num_single_layers": 2', '"num_single_layers": 3')
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(ValueError, match=r"missing: single_blocks\.2"):
        load(tmp_path, device="cpu")


@pytest.mark.slow
@pytest.mark.parametrize("single", [0, 1])
def test_equals_the_reference_at_the_official_widths(single, tmp_path):
    """One block of two streams of a union, without and with one of a single stream after it."""
    settings = dict(num_layers=1, num_single_layers=single, guidance_embeds=True, num_mode=10)
    control = randomised(diffusers.FluxControlNetModel(**settings), 0.02).bfloat16()
    control.save_pretrained(tmp_path)
    control.float()
    x, seen, text, summary = (*torch.randn(2, 1, 16, 6, 8).unbind(), torch.randn(1, 9, 4096), torch.randn(1, 768))
    places = torch.zeros(3, 4, 3)
    places[..., 1] += torch.arange(3)[:, None]
    places[..., 2] += torch.arange(4)
    with torch.no_grad():
        theirs = control(
            packed(x),
            packed(seen),
            torch.tensor([[4]]),
            encoder_hidden_states=text,
            pooled_projections=summary,
            timestep=torch.tensor([0.871]),
            guidance=torch.tensor([3.5]),
            img_ids=places.flatten(0, 1),
            txt_ids=torch.zeros(9, 3),
            return_dict=False,
        )
        del control
        ours = load(tmp_path, device="cpu")
        found = ours(x, torch.tensor([871.0]), text, summary, seen, torch.tensor([3.5]), 4)
    for mine, other in zip(found, (*theirs[0], *(theirs[1] or ())), strict=True):
        assert_same(mine, other)
