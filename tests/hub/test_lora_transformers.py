"""LoRA files for SD3, FLUX and PixArt in every layout that is about: what they do equals PEFT, or is added by hand."""

import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

sys.path.append(str(Path(__file__).parent.parent / "models" / "diffusion"))
import test_flux_transformer
import test_mmdit
import test_pixart

from nexus.adapters.lora import LoRA, LoRAConfig, LoRAStack, attach
from nexus.hub import flux_transformer, mmdit, pixart
from nexus.hub.lora import load_lora, save_lora, save_peft
from nexus.hub.source import Source

diffusers = pytest.importorskip("diffusers")
peft = pytest.importorskip("peft")

KINDS = ["sd3", "flux", "pixart"]
# Attention of both streams, feed-forward, single blocks, modulation and the way in.
TARGETS = {
    "sd3": [
        "attn.to_q",
        "attn.add_v_proj",
        "attn2.to_k",
        "to_out.0",
        "ff.net.0.proj",
        "norm1.linear",
        "pos_embed.proj",
    ],
    "flux": ["to_q", "add_k_proj", "attn.to_v", "to_add_out", "ff.net.2", "proj_mlp", "proj_out", "x_embedder"],
    "pixart": ["attn1.to_q", "attn2.to_v", "attn1.to_out.0", "ff.net.0.proj", "adaln_single.linear", "proj_out"],
}


@pytest.fixture(params=KINDS)
def both(request, tmp_path):
    """The reference and ours with the same weights."""
    return request.param, *made(request.param, tmp_path)


def made(kind, folder):
    if kind == "sd3":
        theirs = test_mmdit.reference(**test_mmdit.KINDS["sd3.5-medium"])
    else:
        theirs = test_flux_transformer.reference(guidance_embeds=True) if kind == "flux" else test_pixart.reference()
    theirs.save_pretrained(folder / "base")
    load = {"sd3": mmdit.load_folder, "flux": flux_transformer.load_folder, "pixart": pixart.load_transformer}[kind]
    return theirs, load(Source("tiny", folder / "base")).eval()


def says(kind, network):
    """What either network says to the same inputs."""
    ours = type(network).__module__.startswith("nexus")
    with torch.no_grad():
        if kind == "pixart":
            torch.manual_seed(2)
            x, time, text = torch.randn(2, 4, 6, 10), torch.tensor([3, 900]), torch.randn(2, 7, 20)
            added = {"resolution": None, "aspect_ratio": None}
            return network(x, time, text) if ours else network(x, text, time, added_cond_kwargs=added).sample
        tests = {"sd3": test_mmdit, "flux": test_flux_transformer}[kind]
        given = tests.inputs() if kind == "sd3" else (*tests.inputs(), test_flux_transformer.GUIDANCE)
        return network(*given) if ours else tests.answer(network, *given)


def assert_same(ours, theirs, plain):
    assert (theirs - plain).abs().max() > 0.02
    torch.testing.assert_close(ours, theirs, atol=2e-5 * max(1.0, theirs.abs().max().item()), rtol=1e-4)


def folded(kind, path, network):
    """What ours says with the file folded in; taken out again, the weights are what they were, to the bit."""
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    stack = LoRAStack(network)
    stack.add(load_lora(path, {"network": network})["network"])
    said = says(kind, network)
    stack.set([])
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    return said


def fill(module):
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if "lora_" in name:
                parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))


def test_files_of_diffusers_and_of_peft(both, tmp_path):
    kind, theirs, ours = both
    plain = says(kind, theirs)
    config = peft.LoraConfig(r=3, lora_alpha=6, target_modules=TARGETS[kind])
    peft.inject_adapter_in_model(config, theirs)
    fill(theirs)
    expected = says(kind, theirs)
    state = {f"transformer.{n}": t.clone() for n, t in peft.get_peft_model_state_dict(theirs).items()}
    alphas = {f"{n.rpartition('.lora_A')[0]}.alpha": torch.tensor(6.0) for n in state if ".lora_A." in n}
    save_file(state | alphas, tmp_path / "lora.safetensors")
    assert_same(folded(kind, tmp_path / "lora.safetensors", ours), expected, plain)
    (tmp_path / "peft").mkdir()
    bare = {f"base_model.model.{n.removeprefix('transformer.')}": t for n, t in state.items()}
    save_file(bare, tmp_path / "peft" / "adapter_model.safetensors")
    config.save_pretrained(tmp_path / "peft")
    assert_same(folded(kind, tmp_path / "peft", ours), expected, plain)


def by_hand(theirs, layers, weight):
    """Adds the changes (by the reference's names of the layers that each concerns) to the reference's weights."""
    modules = dict(theirs.named_modules())
    with torch.no_grad():
        for names, (down, up) in layers.items():
            delta, start = weight * up @ down, 0
            for name in names:
                rows = len(modules[name].weight)
                modules[name].weight += delta[start : start + rows].view_as(modules[name].weight)
                start += rows


def first_layers(kind, theirs):
    """First names of some layers, and the reference's layers that each holds."""
    if kind == "sd3":
        config = theirs.config
        names = test_mmdit.original_names(config.num_layers, True, config.dual_attention_layers)
    else:
        names = test_flux_transformer.original_names(theirs)
    layers = {new: (old,) if isinstance(old, str) else old for new, old in names.items() if new.endswith(".weight")}
    wanted = (
        "attn.qkv",
        "attn.proj",
        "attn2.qkv",
        "mlp.fc1",
        "mlp.0",
        "linear1",
        "linear2",
        "mod.lin",
        "_in.out_layer",
    )
    return {
        new.removesuffix(".weight"): tuple(name.removesuffix(".weight") for name in old)
        for new, old in layers.items()
        if new.removesuffix(".weight").endswith(wanted)
    }


@pytest.mark.parametrize("kind", ["sd3", "flux"])
@pytest.mark.parametrize("spelling", ["kohya", "comfy"])
def test_files_under_the_first_names(kind, spelling, tmp_path):
    """kohya's underscores with an alpha for each layer, and dots after `diffusion_model` without."""
    theirs, ours = made(kind, tmp_path)
    plain, generator = says(kind, theirs), torch.Generator().manual_seed(3)
    modules, state, changes = dict(theirs.named_modules()), {}, {}
    for new, old in first_layers(kind, theirs).items():
        rows = sum(len(modules[name].weight) for name in old)
        down = torch.randn(2, modules[old[0]].weight[0].numel(), generator=generator)
        up = 0.1 * torch.randn(rows, 2, generator=generator)
        changes[old] = (down, up)
        if spelling == "kohya":
            stem = f"lora_unet_{new.replace('.', '_')}"
            state |= {
                f"{stem}.lora_down.weight": down,
                f"{stem}.lora_up.weight": up,
                f"{stem}.alpha": torch.tensor(1.0),
            }
        else:
            state |= {f"diffusion_model.{new}.lora_A.weight": down, f"diffusion_model.{new}.lora_B.weight": up}
    assert len(changes) > 10
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, tmp_path / "lora.safetensors")
    by_hand(theirs, changes, 0.5 if spelling == "kohya" else 1.0)
    assert_same(folded(kind, tmp_path / "lora.safetensors", ours), says(kind, theirs), plain)


def test_files_of_xlabs(tmp_path):
    """Of both streams' attentions, and of single blocks the rows of queries, keys and values, and the output."""
    theirs, ours = made("flux", tmp_path)
    plain, generator = says("flux", theirs), torch.Generator().manual_seed(3)
    layers = {}
    for i in range(2):
        old, new = f"transformer_blocks.{i}.attn", f"double_blocks.{i}.processor"
        layers[f"{new}.qkv_lora1"] = tuple(f"{old}.to_{part}" for part in "qkv")
        layers[f"{new}.qkv_lora2"] = tuple(f"{old}.add_{part}_proj" for part in "qkv")
        layers[f"{new}.proj_lora1"], layers[f"{new}.proj_lora2"] = (f"{old}.to_out.0",), (f"{old}.to_add_out",)
        old, new = f"single_transformer_blocks.{i}", f"single_blocks.{i}.processor"
        layers[f"{new}.qkv_lora"] = tuple(f"{old}.attn.to_{part}" for part in "qkv")
        layers[f"{new}.proj_lora"] = (f"{old}.proj_out",)
    modules, state, changes = dict(theirs.named_modules()), {}, {}
    for stem, old in layers.items():
        down = torch.randn(2, modules[old[0]].in_features, generator=generator)
        up = 0.1 * torch.randn(sum(modules[name].out_features for name in old), 2, generator=generator)
        state |= {f"{stem}.down.weight": down, f"{stem}.up.weight": up}
        changes[old] = (down, up)
    save_file(state, tmp_path / "lora.safetensors")
    converted = diffusers.FluxPipeline.lora_state_dict(tmp_path / "lora.safetensors")
    assert len(converted) == 2 * sum(map(len, layers.values()))  # the reference knows them all too
    by_hand(theirs, changes, 1.0)
    assert_same(folded("flux", tmp_path / "lora.safetensors", ours), says("flux", theirs), plain)


def test_what_is_learned_here_is_read_by_peft(both, tmp_path):
    """The LoRA alone gets gradients, its error falls, and PEFT and our own files give what was learned."""
    kind, theirs, ours = both
    plain, generator = says(kind, ours), torch.Generator().manual_seed(0)
    before = {name: tensor.clone() for name, tensor in ours.state_dict().items()}
    lora = LoRA.fresh(ours, LoRAConfig(rank=3, alpha=6, targets=("attn", "heads", "wide_in", r"\.out$")), generator)
    with attach(ours, lora):
        optimizer, losses = torch.optim.Adam(lora.parameters(), lr=0.02), []
        for _ in range(8):
            with torch.enable_grad():
                loss = (differentiable(kind, ours) - 0.5 * plain).square().mean()
            optimizer.zero_grad(), loss.backward(), optimizer.step()
            losses.append(loss.item())
        assert losses[-1] < 0.95 * losses[0]
        assert all(p.grad is None for p in ours.parameters())
        heard = [p.grad is not None and p.grad.abs().sum() > 0 for p in lora.parameters()]
        assert sum(heard) >= len(heard) - 2  # text goes no further than the last block's attention
    assert all(torch.equal(tensor, before[name]) for name, tensor in ours.state_dict().items())
    save_peft(tmp_path / "peft", lora, ours)
    save_lora(tmp_path / "own.safetensors", {"network": lora}, {"network": ours})
    expected = says(kind, peft.PeftModel.from_pretrained(theirs, tmp_path / "peft").base_model.model)
    assert_same(folded(kind, tmp_path / "peft", ours), expected, plain)
    assert_same(folded(kind, tmp_path / "own.safetensors", ours), expected, plain)


def differentiable(kind, network):
    if kind == "pixart":
        torch.manual_seed(2)
        return network(torch.randn(2, 4, 6, 10), torch.tensor([3, 900]), torch.randn(2, 7, 20))
    if kind == "sd3":
        return network(*test_mmdit.inputs())
    return network(*test_flux_transformer.inputs(), test_flux_transformer.GUIDANCE)


def test_another_base_is_refused_by_its_first_layer(tmp_path):
    (_, flux), (_, sd3) = made("flux", tmp_path / "flux"), made("sd3", tmp_path / "sd3")
    down, up = torch.randn(2, 32), torch.randn(32, 2)
    stem = "transformer.single_transformer_blocks.0.attn.to_q"
    save_file({f"{stem}.lora_A.weight": down, f"{stem}.lora_B.weight": up}, tmp_path / "lora.safetensors")
    load_lora(tmp_path / "lora.safetensors", {"network": flux})
    with pytest.raises(ValueError, match=r"another base: layer 'single_transformer_blocks\.0.*' is not in this MMDiT"):
        load_lora(tmp_path / "lora.safetensors", {"network": sd3})
    state = {f"{stem}.lora_A.weight": torch.randn(2, 48), f"{stem}.lora_B.weight": torch.randn(48, 2)}
    save_file(state, tmp_path / "wide.safetensors")
    with pytest.raises(ValueError, match=r"single_transformer_blocks\.0.*' changes a weight of \[48, 48\], this Flux"):
        load_lora(tmp_path / "wide.safetensors", {"network": flux})
