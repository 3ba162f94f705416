"""FLUX' network against diffusers' on random weights, through both layouts of its official weights."""

import pytest
import torch
from einops import rearrange
from references import assert_same, randomised, renamed

from nexus.hub.flux_transformer import load_folder, load_original, read_sizes
from nexus.hub.source import Source
from nexus.models.diffusion.flux_transformer import FluxTransformer, FluxTransformerConfig

diffusers = pytest.importorskip("diffusers")

TINY = dict(
    patch_size=1,
    in_channels=16,
    num_layers=2,
    num_single_layers=2,
    attention_head_dim=16,
    num_attention_heads=2,
    joint_attention_dim=24,
    pooled_projection_dim=20,
    axes_dims_rope=(4, 6, 6),
)


def reference(**settings):
    return randomised(diffusers.FluxTransformer2DModel(**(TINY | settings)))


def inputs(rows=6, columns=10):
    torch.manual_seed(2)
    return torch.randn(2, 4, rows, columns), torch.tensor([3.5, 871.0]), torch.randn(2, 5, 24), torch.randn(2, 20)


GUIDANCE = torch.tensor([1.0, 3.5])


def answer(network, x, time, text, summary, guidance=None):
    """Theirs takes packed latents, the time from 0 to 1 and the places of tokens."""
    rows, columns = x.shape[2] // 2, x.shape[3] // 2
    places = torch.zeros(rows, columns, 3)
    places[..., 1] += torch.arange(rows)[:, None]
    places[..., 2] += torch.arange(columns)
    packed = rearrange(x, "b c (h p) (w q) -> b (h w) (c p q)", p=2, q=2)
    out = network(
        packed,
        encoder_hidden_states=text,
        pooled_projections=summary,
        timestep=time / 1000,
        img_ids=places.flatten(0, 1),
        txt_ids=torch.zeros(text.shape[1], 3),
        guidance=guidance,
    ).sample
    return rearrange(out, "b (h w) (c p q) -> b c (h p) (w q)", h=rows, p=2, q=2)


@pytest.mark.parametrize("guided", [True, False], ids=["dev", "schnell"])
@pytest.mark.parametrize("size", [(6, 10), (2, 14)])
def test_equals_the_reference(guided, size, tmp_path):
    network = reference(guidance_embeds=guided)
    network.save_pretrained(tmp_path)
    ours = load_folder(Source("tiny", tmp_path)).eval()
    given = (*inputs(*size), GUIDANCE) if guided else inputs(*size)
    with torch.no_grad():
        theirs = answer(network, *given)
        assert_same(ours(*given), theirs)
        for i in range(1, len(given)):
            other = [part.flip(0) if i == j else part for j, part in enumerate(given)]
            assert (theirs - answer(network, *other)).abs().max() > 1e-2
        turned = answer(network, given[0].flip(2), *given[1:]).flip(2)
        assert (theirs - turned).abs().max() > 1e-2  # places matter


def original_names(network):
    """Black Forest Labs' names (`src/flux/model.py`, `modules/layers.py`)."""
    names = {}
    embedders = {"time_in": "timestep_embedder", "vector_in": "text_embedder", "guidance_in": "guidance_embedder"}
    if not network.config.guidance_embeds:
        del embedders["guidance_in"]
    for kind in ("weight", "bias"):
        for new, old in embedders.items():
            names[f"{new}.in_layer.{kind}"] = f"time_text_embed.{old}.linear_1.{kind}"
            names[f"{new}.out_layer.{kind}"] = f"time_text_embed.{old}.linear_2.{kind}"
        names |= {
            f"img_in.{kind}": f"x_embedder.{kind}",
            f"txt_in.{kind}": f"context_embedder.{kind}",
            f"final_layer.adaLN_modulation.1.{kind}": f"norm_out.linear.{kind}",
            f"final_layer.linear.{kind}": f"proj_out.{kind}",
        }
        for i in range(network.config.num_layers):
            old, new = f"transformer_blocks.{i}", f"double_blocks.{i}"
            names |= {
                f"{new}.img_mod.lin.{kind}": f"{old}.norm1.linear.{kind}",
                f"{new}.txt_mod.lin.{kind}": f"{old}.norm1_context.linear.{kind}",
                f"{new}.img_attn.qkv.{kind}": tuple(f"{old}.attn.to_{part}.{kind}" for part in "qkv"),
                f"{new}.txt_attn.qkv.{kind}": tuple(f"{old}.attn.add_{part}_proj.{kind}" for part in "qkv"),
                f"{new}.img_attn.proj.{kind}": f"{old}.attn.to_out.0.{kind}",
                f"{new}.txt_attn.proj.{kind}": f"{old}.attn.to_add_out.{kind}",
                f"{new}.img_mlp.0.{kind}": f"{old}.ff.net.0.proj.{kind}",
                f"{new}.img_mlp.2.{kind}": f"{old}.ff.net.2.{kind}",
                f"{new}.txt_mlp.0.{kind}": f"{old}.ff_context.net.0.proj.{kind}",
                f"{new}.txt_mlp.2.{kind}": f"{old}.ff_context.net.2.{kind}",
            }
        for i in range(network.config.num_single_layers):
            old, new = f"single_transformer_blocks.{i}", f"single_blocks.{i}"
            wide = [*(f"{old}.attn.to_{part}.{kind}" for part in "qkv"), f"{old}.proj_mlp.{kind}"]
            names |= {
                f"{new}.modulation.lin.{kind}": f"{old}.norm.linear.{kind}",
                f"{new}.linear1.{kind}": tuple(wide),
                f"{new}.linear2.{kind}": f"{old}.proj_out.{kind}",
            }
    for part, word in (("q", "query"), ("k", "key")):
        for i in range(network.config.num_layers):
            old, new = f"transformer_blocks.{i}.attn", f"double_blocks.{i}"
            names[f"{new}.img_attn.norm.{word}_norm.scale"] = f"{old}.norm_{part}.weight"
            names[f"{new}.txt_attn.norm.{word}_norm.scale"] = f"{old}.norm_added_{part}.weight"
        for i in range(network.config.num_single_layers):
            names[f"single_blocks.{i}.norm.{word}_norm.scale"] = (
                f"single_transformer_blocks.{i}.attn.norm_{part}.weight"
            )
    return names


def original_state(network):
    state = renamed(network.state_dict(), original_names(network))
    for kind in ("weight", "bias"):  # shift, then scale
        name = f"final_layer.adaLN_modulation.1.{kind}"
        state[name] = torch.cat(state[name].chunk(2)[::-1])
    return state


@pytest.mark.parametrize("guided", [True, False], ids=["dev", "schnell"])
def test_black_forest_labs_file_equals_the_reference(guided):
    network = reference(guidance_embeds=guided, attention_head_dim=32, axes_dims_rope=(4, 14, 14))
    ours = load_original(original_state(network), "tiny.safetensors").eval()
    given = (*inputs(), GUIDANCE) if guided else inputs()
    with torch.no_grad():
        assert_same(ours(*given), answer(network, *given))


@pytest.mark.slow
@pytest.mark.parametrize(("double", "single"), [(1, 0), (0, 1)])
def test_equals_the_reference_at_the_official_width(double, single, tmp_path):
    """One block, of 19 and 38."""
    network = diffusers.FluxTransformer2DModel(num_layers=double, num_single_layers=single, guidance_embeds=True)
    network = randomised(network, scale=0.03).bfloat16()
    network.save_pretrained(tmp_path)
    x, time = torch.randn(1, 16, 32, 24), torch.tensor([900.0])
    given = (x, time, torch.randn(1, 40, 4096), torch.randn(1, 768), torch.tensor([3.5]))
    with torch.no_grad():
        theirs = answer(network.float(), *given)
        del network
        ours = load_folder(Source("official", tmp_path)).eval()
        assert ours.config.dim == FluxTransformerConfig().dim and ours.config.rope_dims == (16, 56, 56)
        assert_same(ours(*given), theirs)


@pytest.mark.parametrize("guided", [True, False], ids=["dev", "schnell"])
def test_presets_are_the_published_sizes(guided):
    config = FluxTransformerConfig() if guided else FluxTransformerConfig.schnell()
    with torch.device("meta"):
        ours, theirs = FluxTransformer(config), diffusers.FluxTransformer2DModel(guidance_embeds=guided)
    n_parameters = sum(p.numel() for p in ours.parameters())
    assert n_parameters == sum(p.numel() for p in theirs.parameters()) == pytest.approx(11.9e9, rel=0.01)


def test_sizes_are_read_off_the_tensors_of_a_file():
    state = original_state(reference(guidance_embeds=True, attention_head_dim=32, axes_dims_rope=(4, 14, 14)))
    config = read_sizes(state, "tiny")
    assert (config.n_double_layers, config.n_single_layers, config.n_heads, config.head_dim) == (2, 2, 2, 32)
    assert (config.text_dim, config.summary_dim, config.rope_dims, config.guidance) == (24, 20, (4, 14, 14), True)
    with pytest.raises(ValueError, match="32 values a patch in and 16 out; known are FLUX"):
        read_sizes(state | {"img_in.weight": torch.zeros(64, 32)}, "fill")


def small(**settings):
    sizes = dict(n_double_layers=1, n_single_layers=1, n_heads=2, head_dim=16, in_channels=4, out_channels=4)
    return FluxTransformer(
        FluxTransformerConfig(**(sizes | dict(text_dim=24, summary_dim=20, rope_dims=(4, 6, 6)) | settings))
    )


def test_starts_blind_to_text_and_reaches_every_parameter():
    network, (x, time, text, summary) = small(), inputs()
    torch.testing.assert_close(
        network(x, time, text, summary, GUIDANCE), network(x, time, -text, summary, GUIDANCE.flip(0))
    )
    randomised(network).train().gradient_checkpointing_enable()
    out = network(x, time, text, summary, GUIDANCE)
    torch.testing.assert_close(out, network.eval()(x, time, text, summary, GUIDANCE))
    network.train()(x, time, text, summary, GUIDANCE).square().mean().backward()
    assert all(p.grad is not None and p.grad.any() for p in network.parameters())


def test_bad_input_is_refused(tmp_path):
    with pytest.raises(ValueError, match="give the `guidance`"):
        small()(*inputs())
    with pytest.raises(ValueError, match="told no `guidance`"):
        small(guidance=False)(*inputs(), GUIDANCE)
    with pytest.raises(ValueError, match="multiples of 2"):
        small(guidance=False)(*inputs(5, 4))
    with pytest.raises(ValueError, match=r"sum to head_dim 16, got \(4, 6, 8\)"):
        small(rope_dims=(4, 6, 8))
    reference(out_channels=8).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="16 channels in and 8 out: a FLUX that is given more than text"):
        load_folder(Source("fill", tmp_path))
