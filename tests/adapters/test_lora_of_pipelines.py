"""LoRAs of whole SD3 and FLUX pipelines, text encoders too: diffusers' pictures, and the plain ones afterwards."""

import copy

import numpy as np
import pytest
import torch
from references import painted
from safetensors.torch import load_file, save_file
from test_block_control import OUR_FLUX, OURS, PROMPTS, SD3, assert_same_pictures, quiet, rngs
from test_flux import build as build_flux
from test_stable_diffusion_3 import build as build_sd3

import nexus
from nexus.adapters.lora import LoRA, LoRAConfig
from nexus.hub.adapters import add_lora, networks_of, remove_loras
from nexus.hub.lora import save_lora

pytest.importorskip("diffusers")
pytest.importorskip("peft")
BOTH = {
    "sd3": (build_sd3, SD3, OURS | {"guidance_scale": 4.0}, ["text_encoder", "text_encoder_2", "text_encoder_3"]),
    "flux": (
        lambda: build_flux(guided=True),
        SD3 | {"num_inference_steps": 4, "guidance_scale": 2.5, "max_sequence_length": 512},
        OUR_FLUX,
        ["text_encoder", "text_encoder_2"],
    ),
}


@pytest.mark.filterwarnings("ignore:Already found a `peft_config`", "ignore:.*lora_scale.*:FutureWarning")
@pytest.mark.parametrize("kind", BOTH)
def test_loras_of_network_and_clip(kind, tmp_path):
    build, theirs_settings, settings, encoders = BOTH[kind]
    pipe, generator = build(), torch.Generator().manual_seed(3)
    pipe.save_pretrained(tmp_path / "base")
    model = nexus.load(tmp_path / "base", device="cpu")
    networks = networks_of(model)
    assert list(networks) == ["network", *encoders]
    plain = painted(model, PROMPTS, **settings)[0]
    parts = {part: networks[part] for part in ("network", "text_encoder")}
    targets = LoRAConfig(rank=2, alpha=1, targets=("heads", "wide_in", "self_attn"))
    for name in ("first", "second"):
        loras = {part: LoRA.fresh(network, targets, generator) for part, network in parts.items()}
        for change in (change for lora in loras.values() for change in lora):
            change.up.data.copy_(0.2 * torch.randn(change.up.shape, generator=generator))
        save_lora(tmp_path / f"{name}.safetensors", loras, parts)
    own = {name: copy.deepcopy(part) for name, part in pipe.components.items() if isinstance(part, torch.nn.Module)}
    pipe = quiet(type(pipe)(**(pipe.components | own)))
    for name in ("first", "second"):
        pipe.load_lora_weights(tmp_path, weight_name=f"{name}.safetensors", adapter_name=name)
    pipe.set_adapters(["first", "second"], [0.8, 0.5])
    theirs = pipe(PROMPTS, generator=rngs(), **theirs_settings).images
    add_lora(model, tmp_path / "first.safetensors", 0.8)
    add_lora(model, tmp_path / "second.safetensors", 0.5)
    ours = painted(model, PROMPTS, **settings)[0]
    remove_loras(model)
    assert_same_pictures(ours, theirs, plain)
    assert np.array_equal(painted(model, PROMPTS, **settings)[0], plain)


def test_kohyas_third_encoder_of_flux_is_t5(tmp_path):
    build_flux(guided=True).save_pretrained(tmp_path)
    model = nexus.load(tmp_path, device="cpu")
    t5 = networks_of(model)["text_encoder_2"]
    name = "encoder.block.0.layer.0.SelfAttention.q"
    weight = t5.get_submodule(name).weight
    before, stem = weight.clone(), f"lora_te3_{name.replace('.', '_')}"
    change = {
        f"{stem}.lora_down.weight": torch.ones(1, weight.shape[1]),
        f"{stem}.lora_up.weight": torch.ones(len(weight), 1),
    }
    save_file(change, tmp_path / "lora.safetensors")
    assert len(load_file(tmp_path / "lora.safetensors")) == 2
    add_lora(model, tmp_path / "lora.safetensors", 0.5)
    torch.testing.assert_close(weight, before + 0.5)
