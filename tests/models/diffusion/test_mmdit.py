"""MM-DiT against diffusers' SD3 transformer on random weights, through both layouts of its official weights."""

import pytest
import torch
from references import assert_same, randomised, renamed

from nexus.hub.mmdit import load_folder, load_original, read_sizes
from nexus.hub.source import Source
from nexus.models.diffusion.mmdit import MMDiT, MMDiTConfig

diffusers = pytest.importorskip("diffusers")

TINY = dict(
    sample_size=8,
    patch_size=2,
    in_channels=4,
    num_layers=3,
    attention_head_dim=8,
    num_attention_heads=2,
    joint_attention_dim=24,
    caption_projection_dim=16,
    pooled_projection_dim=20,
    out_channels=4,
    pos_embed_max_size=12,
)
KINDS = {
    "sd3": {},
    "sd3.5-large": {"qk_norm": "rms_norm"},
    "sd3.5-medium": {"qk_norm": "rms_norm", "dual_attention_layers": (0, 1)},
}


def reference(scale=0.1, **settings):
    network = randomised(diffusers.SD3Transformer2DModel(**(TINY | settings)), scale)
    with torch.no_grad():
        network.pos_embed.pos_embed.add_(0.1 * torch.randn_like(network.pos_embed.pos_embed))
    return network


def inputs(rows=6, columns=10):
    torch.manual_seed(2)
    return torch.randn(2, 4, rows, columns), torch.tensor([3.5, 871.0]), torch.randn(2, 5, 24), torch.randn(2, 20)


def answer(network, x, time, text, summary):
    return network(x, timestep=time, encoder_hidden_states=text, pooled_projections=summary).sample


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(6, 10), (24, 2)])
def test_equals_the_reference(kind, size, tmp_path):
    network = reference(**KINDS[kind])
    network.save_pretrained(tmp_path)
    ours = load_folder(Source("tiny", tmp_path)).eval()
    x, time, text, summary = inputs(*size)
    with torch.no_grad():
        theirs = answer(network, x, time, text, summary)
        assert_same(ours(x, time, text, summary), theirs)
        for other in ((x, time.flip(0), text, summary), (x, time, text.flip(0), summary), (x, time, text, -summary)):
            assert (theirs - answer(network, *other)).abs().max() > 1e-2


def original_names(n_layers, qk_norm, dual):
    """Stability's names (`mmditx.py` of their sd3.5 repository)."""
    names = {"pos_embed": "pos_embed.pos_embed"}
    for kind in ("weight", "bias"):
        names |= {
            f"x_embedder.proj.{kind}": f"pos_embed.proj.{kind}",
            f"t_embedder.mlp.0.{kind}": f"time_text_embed.timestep_embedder.linear_1.{kind}",
            f"t_embedder.mlp.2.{kind}": f"time_text_embed.timestep_embedder.linear_2.{kind}",
            f"y_embedder.mlp.0.{kind}": f"time_text_embed.text_embedder.linear_1.{kind}",
            f"y_embedder.mlp.2.{kind}": f"time_text_embed.text_embedder.linear_2.{kind}",
            f"context_embedder.{kind}": f"context_embedder.{kind}",
            f"final_layer.adaLN_modulation.1.{kind}": f"norm_out.linear.{kind}",
            f"final_layer.linear.{kind}": f"proj_out.{kind}",
        }
        for i in range(n_layers):
            old, x, text = f"transformer_blocks.{i}", f"joint_blocks.{i}.x_block", f"joint_blocks.{i}.context_block"
            names |= {
                f"{x}.attn.qkv.{kind}": tuple(f"{old}.attn.to_{part}.{kind}" for part in "qkv"),
                f"{x}.attn.proj.{kind}": f"{old}.attn.to_out.0.{kind}",
                f"{x}.mlp.fc1.{kind}": f"{old}.ff.net.0.proj.{kind}",
                f"{x}.mlp.fc2.{kind}": f"{old}.ff.net.2.{kind}",
                f"{x}.adaLN_modulation.1.{kind}": f"{old}.norm1.linear.{kind}",
                f"{text}.attn.qkv.{kind}": tuple(f"{old}.attn.add_{part}_proj.{kind}" for part in "qkv"),
                f"{text}.adaLN_modulation.1.{kind}": f"{old}.norm1_context.linear.{kind}",
            }
            if i < n_layers - 1:
                names |= {
                    f"{text}.attn.proj.{kind}": f"{old}.attn.to_add_out.{kind}",
                    f"{text}.mlp.fc1.{kind}": f"{old}.ff_context.net.0.proj.{kind}",
                    f"{text}.mlp.fc2.{kind}": f"{old}.ff_context.net.2.{kind}",
                }
            if i in dual:
                names |= {
                    f"{x}.attn2.qkv.{kind}": tuple(f"{old}.attn2.to_{part}.{kind}" for part in "qkv"),
                    f"{x}.attn2.proj.{kind}": f"{old}.attn2.to_out.0.{kind}",
                }
    for i in range(n_layers if qk_norm else 0):
        for part in "qk":
            old, new = f"transformer_blocks.{i}", f"joint_blocks.{i}"
            names[f"{new}.x_block.attn.ln_{part}.weight"] = f"{old}.attn.norm_{part}.weight"
            names[f"{new}.context_block.attn.ln_{part}.weight"] = f"{old}.attn.norm_added_{part}.weight"
            if i in dual:
                names[f"{new}.x_block.attn2.ln_{part}.weight"] = f"{old}.attn2.norm_{part}.weight"
    return names


def original_state(network):
    config = network.config
    names = original_names(config.num_layers, config.qk_norm is not None, config.dual_attention_layers)
    state = renamed(network.state_dict(), names)
    last = f"joint_blocks.{config.num_layers - 1}.context_block.adaLN_modulation.1."
    for name in state:
        if name.startswith((last, "final_layer.adaLN_modulation.1.")):  # shift, then scale
            state[name] = torch.cat(state[name].chunk(2)[::-1])
    return state


@pytest.mark.parametrize("kind", KINDS)
def test_stabilitys_file_equals_the_reference(kind):
    network = reference(**KINDS[kind], attention_head_dim=64, caption_projection_dim=128)
    ours = load_original(original_state(network), "tiny.safetensors").eval()
    with torch.no_grad():
        assert_same(ours(*inputs()), answer(network, *inputs()))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sd3", "sd3.5-medium"])
def test_equals_the_reference_at_the_official_width(kind, tmp_path):
    """Two of the 24 blocks of the medium models."""
    sizes = dict(sample_size=128, in_channels=16, out_channels=16, num_layers=2, attention_head_dim=64)
    sizes |= dict(num_attention_heads=24, caption_projection_dim=1536, joint_attention_dim=4096)
    sizes |= dict(pooled_projection_dim=2048, pos_embed_max_size=192)
    if kind == "sd3.5-medium":
        sizes |= {"qk_norm": "rms_norm", "dual_attention_layers": (0,)}
    network = reference(scale=0.03, **sizes).bfloat16()
    network.save_pretrained(tmp_path)
    x, time = torch.randn(2, 16, 32, 24), torch.tensor([10.0, 900.0])
    text, summary = torch.randn(2, 40, 4096), torch.randn(2, 2048)
    with torch.no_grad():
        theirs = answer(network.float(), x, time, text, summary)
        del network
        ours = load_folder(Source("official", tmp_path)).eval()
        assert ours.config.dim == MMDiTConfig().dim == MMDiTConfig.sd35_medium().dim
        assert_same(ours(x, time, text, summary), theirs)


@pytest.mark.parametrize("kind", ["sd3", "sd35_medium", "sd35_large"])
def test_presets_are_the_published_sizes(kind):
    config = MMDiTConfig() if kind == "sd3" else getattr(MMDiTConfig, kind)()
    with torch.device("meta"):
        ours = MMDiT(config)
        theirs = diffusers.SD3Transformer2DModel(
            num_layers=config.n_layers,
            num_attention_heads=config.n_heads,
            caption_projection_dim=config.dim,
            pos_embed_max_size=config.max_patches,
            qk_norm="rms_norm" if config.qk_norm else None,
            dual_attention_layers=tuple(range(config.n_dual_layers)),
        )
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters())
    assert {"sd3": 2.03e9, "sd35_medium": 2.24e9, "sd35_large": 8.06e9}[kind] == pytest.approx(
        sum(p.numel() for p in ours.parameters()), rel=0.01
    )
    assert ours.positions.shape == (config.max_patches, config.max_patches, config.dim)


def test_sizes_are_read_off_the_tensors_of_a_file():
    network = reference(**KINDS["sd3.5-medium"])
    config = read_sizes(original_state(network))
    assert (config.n_layers, config.n_heads, config.head_dim, config.n_dual_layers) == (3, 2, 8, 2)
    assert (config.text_dim, config.summary_dim, config.max_patches, config.qk_norm) == (24, 20, 12, True)


def small(**settings):
    sizes = dict(n_layers=2, n_heads=2, head_dim=8, in_channels=4, out_channels=4, text_dim=24, summary_dim=20)
    return MMDiT(MMDiTConfig(**(sizes | dict(sample_size=8, max_patches=6) | settings)))


@pytest.mark.parametrize("settings", [{}, {"qk_norm": True, "n_dual_layers": 1}])
def test_starts_blind_to_text_and_reaches_every_parameter(settings):
    network, (x, time, text, summary) = small(**settings), inputs()
    torch.testing.assert_close(network(x, time, text, summary), network(x, time, -text, summary))
    randomised(network).train().gradient_checkpointing_enable()
    out = network(x, time, text, summary)
    torch.testing.assert_close(out, network.eval()(x, time, text, summary))
    network.train()(x, time, text, summary).square().mean().backward()
    unused = {"blocks.1.text.heads.q_norm.weight"}  # what no one goes on with asks in vain
    assert all(p.grad is not None and p.grad.any() for n, p in network.named_parameters() if n not in unused)


def test_bad_input_is_refused(tmp_path):
    with pytest.raises(ValueError, match="at most 6 patches a side have positions, got 7 x 2"):
        small()(*inputs(14, 4))
    with pytest.raises(ValueError, match="multiples of 2"):
        small()(*inputs(5, 4))
    with pytest.raises(ValueError, match="n_dual_layers"):
        MMDiTConfig(n_layers=2, n_dual_layers=3)
    reference(**KINDS["sd3.5-large"], dual_attention_layers=(1,)).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"must be the first ones, got \[1\]"):
        load_folder(Source("tiny", tmp_path))
