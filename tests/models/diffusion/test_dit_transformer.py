"""DiT's network against diffusers' on random weights, through both layouts of its official weights."""

import pytest
import torch
from references import assert_same, randomised, renamed

from nexus.hub.dit_transformer import load_folder, load_original
from nexus.hub.source import Source
from nexus.models.diffusion.dit_transformer import DiTTransformer, DiTTransformerConfig

diffusers = pytest.importorskip("diffusers")

TINY = dict(
    num_attention_heads=2,
    attention_head_dim=16,
    in_channels=4,
    out_channels=8,
    num_layers=3,
    sample_size=10,
    patch_size=2,
    num_embeds_ada_norm=10,
    norm_num_groups=4,
)


def reference(scale=0.1, **settings):
    """Random weights, with the embeddings of step and class alike in all blocks, as training leaves them."""
    network = randomised(diffusers.DiTTransformer2DModel(**(TINY | settings)), scale)
    for block in network.transformer_blocks[1:]:
        block.norm1.emb.load_state_dict(network.transformer_blocks[0].norm1.emb.state_dict())
    return network


def inputs(side=10):
    torch.manual_seed(2)
    return torch.randn(2, 4, side, side), torch.tensor([3, 871]), torch.tensor([7, 10])


@pytest.mark.parametrize("side", [10, 6, 14])  # of training, and where positions are stretched
def test_equals_the_reference(side, tmp_path):
    network = reference(norm_eps=0.01)  # where 1e-5 for 1e-6 would not be seen
    network.save_pretrained(tmp_path)
    ours = load_folder(Source("tiny", tmp_path)).eval()
    x, step, label = inputs(side)
    with torch.no_grad():
        theirs = network(x, step, label).sample
        assert_same(ours(x, step, label), theirs)
        assert (theirs - network(x, step.flip(0), label).sample).abs().max() > 1e-2
        assert (theirs - network(x, step, label.flip(0)).sample).abs().max() > 1e-2


def test_oblong_pictures_equal_the_reference_before_it_squares_them(tmp_path):
    network = reference()
    network.save_pretrained(tmp_path)
    ours = load_folder(Source("tiny", tmp_path)).eval()
    x, (_, step, label) = torch.randn(2, 4, 4, 16), inputs()
    tokens = []
    network.proj_out_2.register_forward_hook(lambda module, args, output: tokens.append(output))
    with torch.no_grad():
        network(x, step, label)
        expected = tokens[0].reshape(2, 2, 8, 2, 2, 8).permute(0, 5, 1, 3, 2, 4).reshape(2, 8, 4, 16)
        assert_same(ours(x, step, label), expected)


def original_names(n_layers):
    """The authors' names, of a class made here from their file `models.py`."""
    names = {}
    for kind in ("weight", "bias"):
        names |= {
            f"x_embedder.proj.{kind}": f"pos_embed.proj.{kind}",
            f"t_embedder.mlp.0.{kind}": f"transformer_blocks.0.norm1.emb.timestep_embedder.linear_1.{kind}",
            f"t_embedder.mlp.2.{kind}": f"transformer_blocks.0.norm1.emb.timestep_embedder.linear_2.{kind}",
            f"final_layer.adaLN_modulation.1.{kind}": f"proj_out_1.{kind}",
            f"final_layer.linear.{kind}": f"proj_out_2.{kind}",
        }
        for i in range(n_layers):
            old, new = f"transformer_blocks.{i}", f"blocks.{i}"
            names |= {
                f"{new}.attn.qkv.{kind}": tuple(f"{old}.attn1.to_{part}.{kind}" for part in "qkv"),
                f"{new}.attn.proj.{kind}": f"{old}.attn1.to_out.0.{kind}",
                f"{new}.mlp.fc1.{kind}": f"{old}.ff.net.0.proj.{kind}",
                f"{new}.mlp.fc2.{kind}": f"{old}.ff.net.2.{kind}",
                f"{new}.adaLN_modulation.1.{kind}": f"{old}.norm1.linear.{kind}",
            }
    names["y_embedder.embedding_table.weight"] = "transformer_blocks.0.norm1.emb.class_embedder.embedding_table.weight"
    return names


def original_state(network):
    old = {n: t for n, t in network.state_dict().items() if ".emb." not in n or n.startswith("transformer_blocks.0.")}
    places = network.pos_embed.pos_embed
    return renamed(old, original_names(len(network.transformer_blocks))) | {"pos_embed": places}


def test_the_authors_file_equals_the_reference_run_as_they_do():
    network = reference(norm_eps=1e-6, attention_head_dim=64)
    for block in network.transformer_blocks:
        block.norm1.emb.time_proj.downscale_freq_shift = 0
    ours = load_original(original_state(network), "tiny.pt").eval()
    assert ours.config.sample_size == 10 and ours.config.n_heads == 2 and ours.config.n_classes == 10
    x, step, label = inputs()
    with torch.no_grad():
        assert_same(ours(x, step, label), network(x, step, label).sample)


def test_embeddings_that_differ_between_blocks_are_refused(tmp_path):
    network = reference()
    with torch.no_grad():
        network.transformer_blocks[1].norm1.emb.class_embedder.embedding_table.weight[3] += 1
    network.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"transformer_blocks\.1\.norm1\.emb\.class_embedder.*one for all"):
        load_folder(Source("tiny", tmp_path))


def test_another_architecture_is_refused_by_name(tmp_path):
    reference(activation_fn="geglu").save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="activation_fn = 'geglu'"):
        load_folder(Source("tiny", tmp_path))


@pytest.mark.slow
def test_equals_the_reference_at_the_official_width(tmp_path):
    """DiT-XL/2, two of its 28 blocks."""
    network = reference(
        scale=0.03,
        num_attention_heads=16,
        attention_head_dim=72,
        num_layers=2,
        sample_size=32,
        num_embeds_ada_norm=1000,
    )
    network.save_pretrained(tmp_path)
    ours = load_folder(Source("xl", tmp_path)).eval()
    assert ours.config.dim == DiTTransformerConfig.xl_2().dim
    x, step, label = torch.randn(2, 4, 32, 32), torch.tensor([10, 900]), torch.tensor([5, 1000])
    with torch.no_grad():
        theirs = network(x, step, label).sample
        assert_same(ours(x, step, label), theirs, atol=1e-5)


def test_xl_2_has_as_many_parameters_as_published():
    with torch.device("meta"):
        network = DiTTransformer(DiTTransformerConfig.xl_2())
    assert sum(p.numel() for p in network.parameters()) == 675_129_632 - 256 * 1152  # theirs count the positions


def test_starts_blind_to_everything_and_reaches_every_parameter(rng):
    config = DiTTransformerConfig(n_layers=2, n_heads=2, head_dim=8, sample_size=8, n_classes=3)
    network = DiTTransformer(config)
    x, step, label = torch.randn(2, 4, 8, 4, generator=rng), torch.tensor([1, 9]), torch.tensor([0, 3])
    torch.testing.assert_close(network(x, step, label), network(x, step.flip(0), label.flip(0)))
    randomised(network).train().gradient_checkpointing_enable()
    out = network(x, step, label)
    torch.testing.assert_close(out, network.eval()(x, step, label))
    network.train()(x, step, label).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in network.parameters())


def test_bad_input_is_refused():
    network = DiTTransformer(DiTTransformerConfig(n_layers=1, n_heads=2, head_dim=8, sample_size=8, n_classes=3))
    with pytest.raises(ValueError, match=r"multiples of 2, got \[7, 8\]; nearest is \[8, 8\]"):
        network(torch.zeros(1, 4, 7, 8), torch.tensor([1]), torch.tensor([1]))
    with pytest.raises(ValueError, match="twice as many"):
        DiTTransformerConfig(out_channels=5)
    with pytest.raises(ValueError, match="patch_size"):
        DiTTransformerConfig(sample_size=9)
    with pytest.raises(ValueError, match="multiples of 4"):
        DiTTransformerConfig(n_heads=1, head_dim=6)
