"""Files with text encoders and autoencoder inside, in 8 bits too, against diffusers' pipelines of the same weights."""

import numpy as np
import pytest
import test_flux_transformer
import test_mmdit
import torch
from references import painted, randomised, tiny_tokenizer
from safetensors.torch import save_file
from test_stable_diffusion_file import clip, original_vae, prefixed

import nexus
from nexus.hub.bundle import rescaled

diffusers = pytest.importorskip("diffusers")
transformers = pytest.importorskip("transformers")
PROMPTS = ["a red boat on the sea", "a big grey whale"]
SIZE = {"height": 32, "width": 48}


def t5(dim, gated=True):
    kind = "gated-gelu" if gated else "relu"
    sizes = dict(vocab_size=16, d_model=dim, d_kv=6, d_ff=24, num_layers=2, num_heads=3, feed_forward_proj=kind)
    return randomised(transformers.T5EncoderModel(transformers.T5Config(**sizes)))


def vae(scaling_factor, shift_factor):
    made = diffusers.AutoencoderKL(
        block_out_channels=(32,) * 4,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        latent_channels=16,
        scaling_factor=scaling_factor,
        shift_factor=shift_factor,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )
    return randomised(made, 0.02)


def sd3():
    network = test_mmdit.reference(
        sample_size=4,
        in_channels=16,
        out_channels=16,
        joint_attention_dim=136,
        pooled_projection_dim=64 + 10,
        qk_norm="rms_norm",
    )
    pipe = diffusers.StableDiffusion3Pipeline(
        transformer=network,
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=vae(1.5305, 0.0609),
        text_encoder=clip(64, 64),
        tokenizer=tiny_tokenizer(True, 12, pad="</s>"),
        text_encoder_2=clip(64, 10, "gelu", pad=0),
        tokenizer_2=tiny_tokenizer(True, 12),
        text_encoder_3=t5(136),
        tokenizer_3=tiny_tokenizer(False, 256),
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def flux(guided):
    """[dev]'s form, or [schnell]'s."""
    shift = dict(shift=3.0, use_dynamic_shifting=True) if guided else dict(shift=1.0)
    network = test_flux_transformer.reference(
        guidance_embeds=guided,
        in_channels=64,
        attention_head_dim=32,
        axes_dims_rope=(4, 14, 14),
        pooled_projection_dim=64,
    )
    pipe = diffusers.FluxPipeline(
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(**shift),
        vae=vae(0.3611, 0.1159),
        text_encoder=clip(64),
        tokenizer=tiny_tokenizer(True, 12),
        text_encoder_2=t5(24, gated=guided),
        tokenizer_2=tiny_tokenizer(False, 512 if guided else 256),
        transformer=network,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def text_state(encoder):
    """As `transformers` named them when these files were made."""
    state = encoder.state_dict()
    if "shared.weight" in state:
        return {name: tensor for name, tensor in state.items() if name != "encoder.embed_tokens.weight"}
    whole = ("text_model.", "text_projection.")
    return {name if name.startswith(whole) else f"text_model.{name}": tensor for name, tensor in state.items()}


def bundle(network, vae_prefix, vae_state, **encoders):
    state = prefixed("model.diffusion_model.", network) | prefixed(vae_prefix, original_vae(vae_state))
    for name, encoder in encoders.items():
        state |= prefixed(f"text_encoders.{name}.transformer.", text_state(encoder))
        state |= {f"text_encoders.{name}.logit_scale": torch.zeros(())}
    return {name: tensor.clone().contiguous() for name, tensor in state.items()}


def sd3_file(pipe, **encoders):
    network = test_mmdit.original_state(pipe.transformer)
    return bundle(network, "first_stage_model.", pipe.vae.state_dict(), **encoders)


def flux_file(pipe):
    network = test_flux_transformer.original_state(pipe.transformer)
    encoders = {"clip_l": pipe.text_encoder, "t5xxl": pipe.text_encoder_2}
    unused = torch.eye(pipe.text_encoder.config.hidden_size)
    extra = {"text_encoders.clip_l.transformer.text_projection.weight": unused}
    return bundle(network, "vae.", pipe.vae.state_dict(), **encoders) | extra


def in_8_bits(pipe, *parts):
    """The pipeline with the weights of its parts as 8 bits can say them."""
    with torch.no_grad():
        for part in parts:
            for parameter in getattr(pipe, part).parameters():
                parameter.copy_(parameter.to(torch.float8_e4m3fn).float())
    return pipe


def theirs_of(pipe, **settings):
    rngs = [torch.Generator().manual_seed(5 + i) for i in range(2)]
    return pipe(PROMPTS, num_inference_steps=4, generator=rngs, output_type="np", **SIZE, **settings).images


def assert_same_pictures(model, theirs, **settings):
    ours, _ = painted(model, PROMPTS, steps=4, seed=5, **SIZE, **settings)
    assert theirs.std() > 0.02 and np.abs(ours - theirs).max() < 1e-3


def words(pipe, folder, *names):
    for name in names:
        getattr(pipe, name).save_pretrained(folder / name)


@pytest.mark.parametrize("with_t5", [True, False], ids=["incl_clips_t5xxlfp8", "incl_clips"])
def test_stable_diffusion_3_with_its_text_encoders(with_t5, tmp_path):
    pipe = in_8_bits(sd3(), "text_encoder_3")
    words(pipe, tmp_path, "tokenizer", "tokenizer_3")
    encoders = {"clip_l": pipe.text_encoder, "clip_g": pipe.text_encoder_2}
    state = sd3_file(pipe, **encoders, **({"t5xxl": pipe.text_encoder_3} if with_t5 else {}))
    small = {n: t.to(torch.float8_e4m3fn) if ".t5xxl.transformer." in n else t for n, t in state.items()}
    save_file(small, tmp_path / "sd3.safetensors")
    if not with_t5:
        pipe.text_encoder_3 = None
    model = nexus.load(tmp_path / "sd3.safetensors", device="cpu")
    assert model.info.kind == "StableDiffusion3" and (model.text_encoder.t5 is not None) == with_t5
    assert_same_pictures(model, theirs_of(pipe, guidance_scale=4.0), guidance_scale=4)


@pytest.mark.parametrize("guided", [True, False], ids=["dev", "schnell"])
def test_flux_in_8_bits_with_its_text_encoders(guided, tmp_path):
    pipe = in_8_bits(flux(guided), "transformer", "text_encoder", "text_encoder_2", "vae")
    words(pipe, tmp_path, "tokenizer", "tokenizer_2")
    small = {n: t.to(torch.float8_e4m3fn) for n, t in flux_file(pipe).items()}
    save_file(small, tmp_path / "flux1-fp8.safetensors")
    model = nexus.load(tmp_path / "flux1-fp8.safetensors", device="cpu")
    told = {"guidance_scale": 2.5} if guided else {}
    theirs = theirs_of(pipe, max_sequence_length=512 if guided else 256, **told)
    assert_same_pictures(model, theirs, **told)


def test_weights_in_8_bits_with_a_scale_beside_each():
    whole = torch.randn(4, 6) * 100
    scale = whole.abs().max() / 448
    small = (whole / scale).to(torch.float8_e4m3fn)
    markers = {"scaled_fp8": torch.zeros(2), "a.scale_input": torch.ones(1), "other.bias": torch.ones(2)}
    for word in ("scale_weight", "weight_scale"):
        found = rescaled({"a.weight": small, f"a.{word}": scale} | markers)
        assert set(found) == {"a.weight", "other.bias"}
        torch.testing.assert_close(found["a.weight"], small.float() * scale)
        assert (found["a.weight"] - whole).abs().max() < 0.07 * whole.abs().max()
    with pytest.raises(ValueError, match=r"a\.scale_weight scales a\.weight, which is not there"):
        rescaled({"a.scale_weight": scale})


@pytest.mark.parametrize("kind", ["sd3", "flux"])
def test_a_network_alone_takes_the_rest_from_the_pipeline_that_it_lies_in(kind, tmp_path):
    pipe = sd3() if kind == "sd3" else flux(True)
    pipe.save_pretrained(tmp_path)
    of = test_mmdit if kind == "sd3" else test_flux_transformer
    state = {name: tensor.clone().contiguous() for name, tensor in of.original_state(pipe.transformer).items()}
    save_file(state, tmp_path / "network.safetensors")
    model = nexus.load(tmp_path / "network.safetensors", device="cpu")
    folder = nexus.load(tmp_path, device="cpu")
    assert model.config.levels == folder.config.levels and model.image_vae.config == folder.image_vae.config
    given = {"guidance_scale": 2.5}
    more = {"max_sequence_length": 512} if kind == "flux" else {}
    assert_same_pictures(model, theirs_of(pipe, **given, **more), **given)


def test_flux_takes_the_autoencoder_beside_it_and_no_pipeline_of_another_kind(tmp_path):
    pipe = flux(False)
    save_file(original_vae(pipe.vae.state_dict()), tmp_path / "ae.safetensors")
    state = test_flux_transformer.original_state(pipe.transformer)
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, tmp_path / "flux1-schnell.safetensors")
    (tmp_path / "model_index.json").write_text('{"_class_name": "StableDiffusion3Pipeline"}')
    model = nexus.load(tmp_path / "flux1-schnell.safetensors", device="cpu")
    assert model.image_vae.config.scaling_factor == 0.3611
    with pytest.raises(ValueError, match="Flux is a network without text_encoder: load a pipeline's whole folder"):
        model.generate("a boat")


def test_damage_is_named(tmp_path):
    pipe = flux(False)
    words(pipe, tmp_path, "tokenizer", "tokenizer_2")
    state = flux_file(pipe)
    broken = state | {"model.diffusion_model.img_in.bias": torch.full((64,), torch.nan).to(torch.float8_e4m3fn)}
    table = "text_encoders.t5xxl.transformer.encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
    lost = {name: tensor for name, tensor in state.items() if name != table}
    odd = state | {"controlnet.weight": torch.zeros(1)}
    for changed, message in (
        (broken, r"patches_in\.proj\.bias holds NaN"),
        (lost, r"t5xxl\.transformer\.: the tensors do not fit T5: 1 missing: .*relative_attention_bias"),
        (odd, r"1 tensors of no part that is known: controlnet\.weight"),
    ):
        save_file(changed, tmp_path / "flux.safetensors")
        with pytest.raises(ValueError, match=message):
            nexus.load(tmp_path / "flux.safetensors", device="cpu")
