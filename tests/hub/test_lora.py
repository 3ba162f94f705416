"""LoRA files in every layout that is about, on a tiny Stable Diffusion: what they do equals diffusers and PEFT."""

import json
import re

import pytest
import torch
from safetensors.torch import load_file, save_file

from nexus.adapters.lora import LoRA, LoRAConfig, LoRAStack, attach
from nexus.hub.conditional_unet import load_conditional_unet
from nexus.hub.lora import load_lora, save_lora, save_peft
from nexus.hub.lora_layers import places
from nexus.hub.source import Source

diffusers = pytest.importorskip("diffusers")
peft = pytest.importorskip("peft")
transformers = pytest.importorskip("transformers")

SMALL = {"block_out_channels": (8, 16), "norm_num_groups": 4, "layers_per_block": 1, "cross_attention_dim": 12}
SD_15 = SMALL | {
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    "attention_head_dim": 4,
}
XL = SMALL | {
    "block_out_channels": (8, 16, 16),
    "layers_per_block": 2,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "attention_head_dim": (2, 4, 4),
    "use_linear_projection": True,
    "transformer_layers_per_block": (1, 1, 2),
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 8,
    "projection_class_embeddings_input_dim": 10 + 6 * 8,
}
# Attention, feed-forward, convolutions and the projections that ours has as linear layers.
TARGETS = ["to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "proj_in", "conv1", "time_emb_proj", "conv_out"]
DOWN, MIDDLE, UP = "down_blocks.1.attentions.0", "mid_block.attentions.0", "up_blocks.1.attentions.2"
TEXT_TARGETS = ["q_proj", "k_proj", "v_proj", "out_proj", "fc1"]


def text_model():
    torch.manual_seed(2)
    sizes = {"hidden_size": 12, "intermediate_size": 20, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = transformers.CLIPTextConfig(vocab_size=60, bos_token_id=1, eos_token_id=2, pad_token_id=2, **sizes)
    return transformers.CLIPTextModel(config).eval()


def scrambled(module):
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.15 * torch.randn_like(parameter))
    return module


@pytest.fixture
def base(tmp_path):
    """The reference's U-Net and text encoder, and ours with the same weights."""
    torch.manual_seed(0)
    unet = scrambled(diffusers.UNet2DConditionModel(**SD_15)).eval()
    unet.save_pretrained(tmp_path / "unet")
    ours = {"network": load_conditional_unet(Source("tiny", tmp_path / "unet")).eval(), "text_encoder": text_model()}
    return unet, text_model(), ours


def pipeline(unet, text_encoder):
    parts = dict.fromkeys(["vae", "tokenizer", "safety_checker", "feature_extractor"])
    scheduler = diffusers.DDIMScheduler(steps_offset=1, clip_sample=False)
    return diffusers.StableDiffusionPipeline(
        unet=unet, text_encoder=text_encoder, scheduler=scheduler, requires_safety_checker=False, **parts
    )


def fill(module):
    """Random numbers into what peft starts at zero."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if "lora_" in name:
                parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))


def answers(unet, text_encoder):
    """What the two networks say, of the reference or of ours."""
    torch.manual_seed(9)
    x, step, ids = torch.randn(2, 4, 9, 12), torch.tensor([3, 871]), torch.randint(3, 60, (2, 7))
    with torch.no_grad():
        states = text_encoder(ids).last_hidden_state
        out = unet(x, step, states)
        return [out if isinstance(out, torch.Tensor) else out.sample, states]


def same(ours, theirs):
    for mine, other in zip(ours, theirs, strict=True):
        assert other.std() > 0.1
        torch.testing.assert_close(mine, other, atol=2e-5, rtol=1e-4)


def fold(path, ours):
    for part, lora in load_lora(path, ours).items():
        LoRAStack(ours[part]).add(lora)
    return answers(ours["network"], ours["text_encoder"])


def adapted(base, folder, **settings):
    """A LoRA made by peft on both networks, saved by diffusers; its folder, and what the reference says with it."""
    unet, text, ours = base
    plain = answers(unet, text)
    unet.add_adapter(peft.LoraConfig(r=3, target_modules=TARGETS, **settings))
    text.add_adapter(peft.LoraConfig(r=2, target_modules=TEXT_TARGETS, lora_alpha=settings.get("lora_alpha", 8)))
    fill(unet), fill(text)
    theirs = answers(unet, text)
    assert all((a - b).abs().max() > 0.05 for a, b in zip(plain, theirs, strict=True))
    metadata = {
        part: dict(model.peft_config["default"].to_dict(), target_modules=targets)
        for part, model, targets in (("unet", unet, TARGETS), ("text_encoder", text, TEXT_TARGETS))
    }
    diffusers.StableDiffusionPipeline.save_lora_weights(
        folder,
        unet_lora_layers=peft.get_peft_model_state_dict(unet),
        text_encoder_lora_layers={
            # Published files have the outer module that newer transformers leave out.
            f"text_model.{name}": tensor
            for name, tensor in peft.get_peft_model_state_dict(text).items()
        },
        **({f"{part}_lora_adapter_metadata": m for part, m in metadata.items()} if settings else {}),
    )
    return theirs, ours


@pytest.mark.parametrize("settings", [{"lora_alpha": 6}, {"lora_alpha": 6, "alpha_pattern": {"attn1.to_q": 1}}])
def test_files_of_diffusers(settings, base, tmp_path):
    theirs, ours = adapted(base, tmp_path / "lora", **settings)
    same(fold(tmp_path / "lora", ours), theirs)


def test_files_of_diffusers_without_alpha_count_once(base, tmp_path):
    unet, text, ours = base
    unet.add_adapter(peft.LoraConfig(r=3, lora_alpha=3, target_modules=TARGETS)), fill(unet)
    diffusers.StableDiffusionPipeline.save_lora_weights(tmp_path, unet_lora_layers=peft.get_peft_model_state_dict(unet))
    same(fold(tmp_path / "pytorch_lora_weights.safetensors", ours), answers(unet, text))


@pytest.mark.filterwarnings("ignore:Already found a `peft_config`")
def test_weights_and_stacks_equal_diffusers(base, tmp_path):
    unet, text, ours = base
    pipe = pipeline(unet, text)
    generator = torch.Generator().manual_seed(3)
    for name, scale in (("first", 0.5), ("second", 0.3)):
        fresh = {part: LoRA.fresh(network, LoRAConfig(rank=2, alpha=1), generator) for part, network in ours.items()}
        for change in (change for lora in fresh.values() for change in lora):
            change.up.data.copy_(scale * torch.randn(change.up.shape, generator=generator))
        save_lora(tmp_path / f"{name}.safetensors", fresh, ours)
        pipe.load_lora_weights(tmp_path, weight_name=f"{name}.safetensors", adapter_name=name)
    plain = answers(ours["network"], ours["text_encoder"])
    pipe.set_adapters(["first", "second"], [0.8, -0.4])
    theirs = answers(unet, text)
    loaded = [(load_lora(tmp_path / f"{name}.safetensors", ours), w) for name, w in (("first", 0.8), ("second", -0.4))]
    stacks = {part: LoRAStack(network) for part, network in ours.items()}
    for part, stack in stacks.items():
        stack.set([(lora[part], weight) for lora, weight in loaded])
    same(answers(ours["network"], ours["text_encoder"]), theirs)
    assert (plain[0] - theirs[0]).abs().max() > 0.05
    for stack in stacks.values():
        stack.set([])
    for before, after in zip(plain, answers(ours["network"], ours["text_encoder"]), strict=True):
        assert torch.equal(before, after)


def by_hand(folder, state, alpha):
    """W + alpha / rank B A in every layer: diffusers leaves kohya's alphas by layer out of attention layers."""
    unet, text = diffusers.UNet2DConditionModel.from_pretrained(folder / "unet").eval(), text_model()
    with torch.no_grad():
        for name, down in state.items():
            if match := re.match(r"(unet|text_encoder\.text_model)\.(.*)\.lora_A\.weight", name):
                layer = (unet if match[1] == "unet" else text).get_submodule(match[2])
                up = state[name.replace("lora_A", "lora_B")]
                delta = up.flatten(1) @ down.flatten(1)
                layer.weight += alpha(name) / len(down) * delta.view_as(layer.weight)
    return answers(unet, text)


def test_old_files_of_diffusers(base, tmp_path):
    """`.lora.down`, attention processors, and the text encoder's own spelling."""
    _, ours = adapted(base, tmp_path)
    state = load_file(tmp_path / "pytorch_lora_weights.safetensors")
    old = {}
    for name, tensor in state.items():
        name = name.replace("lora_A", "lora.down").replace("lora_B", "lora.up")
        name = re.sub(r"(attn\d)\.(to_[qkv])\.lora\.", r"\1.processor.\2_lora.", name)
        name = re.sub(r"(attn\d)\.to_out\.0\.lora\.", r"\1.processor.to_out_lora.", name)
        name = re.sub(r"(text_encoder.*)\.lora\.", r"\1.lora_linear_layer.", name)
        old[name] = tensor
    assert any("processor.to_out_lora.up" in name for name in old)
    torch.save(old, tmp_path / "old.bin")
    same(fold(tmp_path / "old.bin", ours), by_hand(tmp_path, state, lambda name: len(state[name])))


def kohya(state, alphas, rename=lambda name: name):
    """A file of kohya's scripts out of diffusers' tensors."""
    out = {}
    for name, tensor in state.items():
        part, stem, half = re.match(r"(unet|text_encoder)\.(.*)\.(lora_[AB])\.weight", name).groups()
        stem = {"unet": "lora_unet_", "text_encoder": "lora_te_"}[part] + rename(stem).replace(".", "_")
        half = {"lora_A": "lora_down", "lora_B": "lora_up"}[half]
        out[f"{stem}.{half}.weight"] = tensor
        out[f"{stem}.alpha"] = torch.tensor(float(alphas(name)))
    return out


def test_files_of_kohya_count_alpha_by_layer(base, tmp_path):
    adapted(base, tmp_path)
    _, _, ours = base
    state = load_file(tmp_path / "pytorch_lora_weights.safetensors")

    def alpha(name):
        return 1 + len(name) % 3

    save_file(kohya(state, alpha), tmp_path / "kohya.safetensors")
    same(fold(tmp_path / "kohya.safetensors", ours), by_hand(tmp_path, state, alpha))


def test_files_of_peft(base, tmp_path):
    unet, text, ours = base
    config = peft.LoraConfig(
        r=4,
        lora_alpha=2,
        use_rslora=True,
        target_modules=TARGETS,
        rank_pattern={"attn2.to_k": 2},
        alpha_pattern={"conv1": 5},
    )
    model = peft.get_peft_model(unet, config)
    fill(model)
    model.save_pretrained(tmp_path / "peft")
    same(fold(tmp_path / "peft", ours), answers(unet, text))


def test_original_names_of_xl(tmp_path):
    """kohya's files for XL name layers as XL was first published; a file of both spellings is the same LoRA."""
    torch.manual_seed(0)
    diffusers.UNet2DConditionModel(**XL).save_pretrained(tmp_path / "xl")
    networks = {"network": load_conditional_unet(Source("tiny", tmp_path / "xl"))}
    spelled = {
        "input_blocks_0_0": "conv_in",
        "input_blocks_1_0_in_layers_2": "down_blocks.0.resnets.0.conv1",
        "input_blocks_3_0_op": "down_blocks.0.downsamplers.0.conv",
        "input_blocks_4_1_transformer_blocks_0_attn1_to_k": f"{DOWN}.transformer_blocks.0.attn1.to_k",
        "input_blocks_4_0_skip_connection": "down_blocks.1.resnets.0.conv_shortcut",
        "input_blocks_8_1_proj_in": "down_blocks.2.attentions.1.proj_in",
        "middle_block_1_transformer_blocks_1_ff_net_0_proj": f"{MIDDLE}.transformer_blocks.1.ff.net.0.proj",
        "middle_block_2_emb_layers_1": "mid_block.resnets.1.time_emb_proj",
        "output_blocks_2_2_conv": "up_blocks.0.upsamplers.0.conv",
        "output_blocks_5_1_transformer_blocks_0_attn2_to_out_0": f"{UP}.transformer_blocks.0.attn2.to_out.0",
        "output_blocks_7_0_out_layers_3": "up_blocks.2.resnets.1.conv2",
        "time_embed_2": "time_embedding.linear_2",
        "label_emb_0_0": "add_embedding.linear_1",
        "out_2": "conv_out",
    }
    theirs, ours = {}, {}
    found = places(networks["network"])
    for original, name in spelled.items():
        place = found[name]
        weight = networks["network"].get_submodule(place.layer).weight[place.first_row : place.stop_row]
        for half, tensor in (("down", torch.randn(2, *weight.shape[1:])), ("up", torch.randn(len(weight), 2))):
            theirs[f"lora_unet_{original}.lora_{half}.weight"] = tensor
            ours[f"unet.{name}.lora.{half}.weight"] = tensor
    save_file(theirs, tmp_path / "kohya.safetensors")
    save_file(ours, tmp_path / "diffusers.safetensors")
    loras = [load_lora(tmp_path / f"{name}.safetensors", networks)["network"] for name in ("kohya", "diffusers")]
    changes = [{(change.layer, change.first_row): change.delta() for change in lora} for lora in loras]
    assert changes[0].keys() == changes[1].keys() and len(changes[0]) == len(spelled)
    assert all(torch.equal(delta, changes[1][where]) for where, delta in changes[0].items())


def test_what_was_trained_here_loads_in_diffusers_and_in_peft(base, tmp_path):
    """Loss falls, the LoRA alone changes, and both libraries give the same picture with the exported file."""
    unet, text, ours = base
    network = ours["network"]
    before = {name: p.clone() for name, p in network.named_parameters()}
    generator = torch.Generator().manual_seed(0)
    lora = LoRA.fresh(network, LoRAConfig(rank=4, alpha=8, targets=("attention", r"ff\.out")), generator)
    x, step, states = torch.randn(2, 4, 8, 8), torch.tensor([100, 700]), torch.randn(2, 5, 12)
    with attach(network, lora):
        optimizer, losses = torch.optim.Adam(lora.parameters(), lr=0.01), []
        for _ in range(12):
            loss = (network(x, step, states) - x).square().mean()
            optimizer.zero_grad(), loss.backward(), optimizer.step()
            losses.append(loss.item())
        assert losses[-1] < 0.8 * losses[0]
        assert all(p.grad.abs().sum() > 0 for p in lora.parameters())
    assert all(torch.equal(p, before[name]) for name, p in network.named_parameters())
    save_lora(tmp_path / "trained.safetensors", {"network": lora}, ours)
    save_peft(tmp_path / "peft", lora, network)
    LoRAStack(network).add(lora)
    learned = answers(network, ours["text_encoder"])
    again = peft.PeftModel.from_pretrained(
        diffusers.UNet2DConditionModel.from_pretrained(tmp_path / "unet").eval(), tmp_path / "peft"
    )
    same(learned, answers(again, text))
    pipeline(unet, text).load_lora_weights(tmp_path, weight_name="trained.safetensors")
    same(learned, answers(unet, text))


def test_networks_that_nobody_else_knows_keep_their_names(tmp_path):
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.Tanh(), torch.nn.Linear(6, 3))
    lora = LoRA.fresh(network, LoRAConfig(rank=2, alpha=3, targets=("",)))
    for change in lora:
        torch.nn.init.normal_(change.up)
    save_peft(tmp_path, lora, network)
    theirs = peft.PeftModel.from_pretrained(network, tmp_path)(x := torch.randn(5, 4))
    plain = torch.nn.Sequential(*[getattr(layer, "base_layer", layer) for layer in network])
    LoRAStack(plain).add(load_lora(tmp_path, {"network": plain})["network"])
    torch.testing.assert_close(plain(x), theirs, atol=1e-5, rtol=1e-4)
    with pytest.raises(ValueError, match="diffusers has no Sequential"):
        save_lora(tmp_path / "x.safetensors", {"network": lora}, {"network": plain})


def test_another_base_and_other_kinds_are_refused(base, tmp_path):
    _, _, ours = base
    adapted(base, tmp_path)
    state = load_file(tmp_path / "pytorch_lora_weights.safetensors")

    def refused(content, match):
        save_file(content, tmp_path / "bad.safetensors")
        with pytest.raises(ValueError, match=match):
            load_lora(tmp_path / "bad.safetensors", ours)

    key = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.lora_A.weight"
    refused(
        state | {key: torch.zeros(3, 20)},
        r"another base: layer 'down_blocks.0.*attn2.to_k' changes a weight of \[8, 20\]",
    )
    renamed = {name.replace("down_blocks.0", "down_blocks.7"): tensor for name, tensor in state.items()}
    refused(renamed, r"another base: layer 'down_blocks.7.*' is not in this ConditionalUNet")
    second = {name.replace("text_encoder", "text_encoder_2"): tensor for name, tensor in state.items()}
    refused(second, "another base: it changes a text_encoder_2, there is network, text_encoder")
    refused({name: tensor for name, tensor in state.items() if name != key}, "down is missing")
    refused(state | {key: torch.full_like(state[key], torch.nan)}, "NaN")
    refused({"lora_unet_mid_block_resnets_0_conv1.hada_w1_a": torch.zeros(2, 2)}, "LoHa")
    refused(state | {key.replace("lora_A.weight", "lora_magnitude_vector"): torch.zeros(8)}, "DoRA")
    refused({"model.diffusion_model.out.2.weight": torch.zeros(2, 2)}, "no part of a LoRA")
    save_peft(tmp_path / "peft", LoRA.fresh(ours["network"], LoRAConfig()), ours["network"])
    config = json.loads((tmp_path / "peft/adapter_config.json").read_text())
    (tmp_path / "peft/adapter_config.json").write_text(json.dumps(config | {"use_dora": True}))
    with pytest.raises(ValueError, match="use_dora = True"):
        load_lora(tmp_path / "peft", ours)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="no LoRA; expected one of"):
        load_lora(tmp_path / "empty", ours)
