"""IP-Adapters of SD3.5 and FLUX against diffusers' pipelines, through files laid out as InstantX' and XLabs'."""

import copy

import numpy as np
import pytest
import torch
from references import painted, randomised
from safetensors.torch import save_file
from test_block_control import OUR_FLUX, OURS, PROMPTS, SD3, assert_same_pictures, pil, quiet, rngs
from test_flux import build as build_flux
from test_stable_diffusion_3 import build as build_sd3

import nexus
from nexus.adapters.block_ip_adapter import BlockPicturePrompt
from nexus.hub import flux_transformer, mmdit
from nexus.hub.adapters import load_picture_prompt
from nexus.hub.block_ip_adapter import load_block_ip_adapter
from nexus.hub.source import Source
from nexus.media.image import Image

diffusers = pytest.importorskip("diffusers")
transformers = pytest.importorskip("transformers")

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # the references' own
PARTS = ("vae", "text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2")
VISION = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 3, "num_attention_heads": 2}


def drawn(shapes, scale=0.3):
    torch.manual_seed(4)
    return {name: scale * torch.randn(shape) for name, shape in shapes.items()}


def instantx(n_blocks, dim=16, head_dim=8, hidden=20, n_tokens=5, n_sinusoids=32, vision=16, inner=128):
    """The file's halves by its published names, for patches of width `dim`."""
    shapes = {"latents": (1, n_tokens, hidden), "time_embedding.linear_1.weight": (hidden, n_sinusoids)}
    shapes |= {"time_embedding.linear_1.bias": (hidden,), "time_embedding.linear_2.weight": (hidden, hidden)}
    shapes |= {"time_embedding.linear_2.bias": (hidden,), "proj_in.weight": (hidden, vision), "proj_in.bias": (hidden,)}
    shapes |= {"proj_out.weight": (dim, hidden), "proj_out.bias": (dim,)}
    shapes |= {"norm_out.weight": (dim,), "norm_out.bias": (dim,)}
    for i in range(4):
        for norm in (f"layers.{i}.0.norm1", f"layers.{i}.0.norm2", f"layers.{i}.1.0"):
            shapes |= {f"{norm}.weight": (hidden,), f"{norm}.bias": (hidden,)}
        shapes |= {f"layers.{i}.0.to_q.weight": (inner, hidden), f"layers.{i}.0.to_kv.weight": (2 * inner, hidden)}
        shapes |= {f"layers.{i}.0.to_out.weight": (hidden, inner), f"layers.{i}.1.1.weight": (4 * hidden, hidden)}
        shapes |= {f"layers.{i}.1.3.weight": (hidden, 4 * hidden), f"layers.{i}.2.1.weight": (4 * hidden, hidden)}
        shapes |= {f"layers.{i}.2.1.bias": (4 * hidden,)}
    attention = {}
    for i in range(n_blocks):
        attention |= {f"{i}.norm_ip.linear.weight": (2 * dim, hidden), f"{i}.norm_ip.linear.bias": (2 * dim,)}
        attention |= {f"{i}.to_k_ip.weight": (dim, dim), f"{i}.to_v_ip.weight": (dim, dim)}
        attention |= {f"{i}.{norm}.weight": (head_dim,) for norm in ("norm_q", "norm_k", "norm_ip_k")}
    return {"image_proj": drawn(shapes), "ip_adapter": drawn(attention, 1.0)}


@pytest.fixture(scope="module")
def sd3(tmp_path_factory):
    """A pipeline without dual attention, as 3.5 Large is, ours of the same weights, and an adapter beside them."""
    pipe, folder = build_sd3(), tmp_path_factory.mktemp("sd3")
    network = diffusers.SD3Transformer2DModel.from_config(pipe.transformer.config, dual_attention_layers=())
    pipe.register_modules(transformer=randomised(network))
    pipe.save_pretrained(folder / "base")
    torch.save(instantx(3), folder / "ip-adapter.bin")
    encoder = transformers.SiglipVisionModel(transformers.SiglipVisionConfig(image_size=28, patch_size=7, **VISION))
    randomised(encoder).save_pretrained(folder / "image_encoder")
    transformers.SiglipImageProcessorPil(size={"height": 28, "width": 28}).save_pretrained(folder / "image_encoder")
    return pipe, nexus.load(folder / "base", device="cpu"), folder


def theirs_with(pipe, **parts):
    own = copy.deepcopy(pipe.transformer)
    return quiet(type(pipe)(**(pipe.components | parts | {"transformer": own})))


def seen(seed=7, height=40, width=33):
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image(values)


def test_sd3_makes_the_pictures_of_the_reference(sd3):
    pipe, model, folder = sd3
    encoder = transformers.SiglipVisionModel.from_pretrained(folder / "image_encoder")
    processor = transformers.SiglipImageProcessorPil.from_pretrained(folder / "image_encoder")
    own = theirs_with(pipe, image_encoder=encoder, feature_extractor=processor)
    own.load_ip_adapter(folder, weight_name="ip-adapter.bin", subfolder="", image_encoder_folder=None)
    own.set_ip_adapter_scale(0.7)
    theirs = own(PROMPTS, ip_adapter_image=pil(seen()), generator=rngs(), **SD3).images
    prompted = load_picture_prompt(folder / "ip-adapter.bin", model, seen(), weight=0.7)
    plain = painted(model, PROMPTS, guidance_scale=4, **OURS)[0]
    assert_same_pictures(painted(model, PROMPTS, guidance_scale=4, adapters=[prompted], **OURS)[0], theirs, plain)
    nothing = BlockPicturePrompt(prompted.network, seen(), 0.0)
    silent = painted(model, PROMPTS, guidance_scale=4, adapters=[nothing], **OURS)[0]
    assert np.abs(silent - plain).max() < 1e-5


@pytest.mark.slow
def test_sd3_hears_as_the_reference_at_the_official_widths(tmp_path):
    """Two of the 38 blocks of 3.5 Large, InstantX' whole resampler."""
    sizes = dict(sample_size=128, num_layers=2, num_attention_heads=38, caption_projection_dim=2432)
    sizes |= dict(joint_attention_dim=4096, pooled_projection_dim=2048, pos_embed_max_size=192, qk_norm="rms_norm")
    theirs = randomised(diffusers.SD3Transformer2DModel(**sizes), scale=0.03)
    theirs.save_pretrained(tmp_path / "transformer")
    ours = mmdit.load_folder(Source("official", tmp_path / "transformer")).eval()
    content = instantx(2, dim=2432, head_dim=64, hidden=1280, n_tokens=64, n_sinusoids=320, vision=1152, inner=1280)
    for half in content.values():
        half.update({name: tensor / 8 for name, tensor in half.items() if tensor.ndim == 2})
    torch.save(content, tmp_path / "ip-adapter.bin")
    config = transformers.SiglipVisionConfig(**(VISION | {"hidden_size": 1152}), image_size=28, patch_size=7)
    transformers.SiglipVisionModel(config).save_pretrained(tmp_path / "image_encoder")
    transformers.SiglipImageProcessorPil(size={"height": 28, "width": 28}).save_pretrained(tmp_path / "image_encoder")
    adapter = load_block_ip_adapter(tmp_path / "ip-adapter.bin", ours)
    theirs._load_ip_adapter_weights(content)
    for processor in theirs.attn_processors.values():
        processor.scale = 0.7
    x, time, picture = torch.randn(2, 16, 16, 24), torch.tensor([10.0, 900.0]), torch.randn(2, 30, 1152)
    text, summary = torch.randn(2, 20, 4096), torch.randn(2, 2048)
    with torch.no_grad():
        heard = {"ip_adapter_image_embeds": picture}
        expected = theirs(x, text, summary, time, joint_attention_kwargs=heard).sample
        answer = ours(x, time, text, summary, adapter.beside(ours, picture, time, 0.7))
        assert (ours(x, time, text, summary) - answer).norm() > 0.05 * answer.norm()
    assert (answer - expected).norm() < 1e-4 * expected.norm()


@pytest.mark.slow
def test_flux_hears_as_the_reference_at_the_official_widths(tmp_path):
    """One of the 19 blocks of two streams, XLabs' projections."""
    theirs = randomised(diffusers.FluxTransformer2DModel(num_layers=1, num_single_layers=0, guidance_embeds=True), 0.03)
    theirs.save_pretrained(tmp_path / "transformer")
    ours = flux_transformer.load_folder(Source("official", tmp_path / "transformer")).eval()
    proj, stem = "ip_adapter_proj_model", "double_blocks.0.processor.ip_adapter_double_stream"
    shapes = {f"{proj}.proj.weight": (4 * 4096, 768), f"{proj}.proj.bias": (4 * 4096,)}
    shapes |= {f"{proj}.norm.weight": (4096,), f"{proj}.norm.bias": (4096,)}
    shapes |= {f"{stem}_{part}_proj.weight": (3072, 4096) for part in "kv"}
    shapes |= {f"{stem}_{part}_proj.bias": (3072,) for part in "kv"}
    content = drawn(shapes, 0.3)
    save_file(content, tmp_path / "ip_adapter.safetensors")
    config = transformers.CLIPVisionConfig(image_size=28, patch_size=7, projection_dim=768, **VISION)
    transformers.CLIPVisionModelWithProjection(config).save_pretrained(tmp_path / "image_encoder")
    adapter = load_block_ip_adapter(tmp_path / "ip_adapter.safetensors", ours)
    x, time, picture = torch.randn(1, 16, 16, 24), torch.tensor([900.0]), torch.randn(1, 768)
    text, summary, scale = torch.randn(1, 20, 4096), torch.randn(1, 768), torch.tensor([3.5])
    pipe = diffusers.FluxPipeline(**dict.fromkeys(PARTS), transformer=theirs, scheduler=None)
    pipe.load_ip_adapter(
        tmp_path, weight_name="ip_adapter.safetensors", image_encoder_pretrained_model_name_or_path=None
    )
    pipe.set_ip_adapter_scale(0.7)
    packed = x.unflatten(2, (8, 2)).unflatten(4, (12, 2)).permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)
    places = torch.zeros(8, 12, 3)
    places[..., 1], places[..., 2] = torch.arange(8)[:, None], torch.arange(12)
    given = {"img_ids": places.flatten(0, 1), "txt_ids": torch.zeros(20, 3), "guidance": scale, "timestep": time / 1000}
    heard = {"ip_adapter_image_embeds": [picture[:, None]]}
    with torch.no_grad():
        out = theirs(
            packed, encoder_hidden_states=text, pooled_projections=summary, joint_attention_kwargs=heard, **given
        )
        expected = out.sample.unflatten(1, (8, 12)).unflatten(3, (16, 2, 2)).permute(0, 3, 1, 4, 2, 5)
        expected = expected.flatten(4).flatten(2, 3)
        answer = ours(x, time, text, summary, scale, adapter.beside(ours, picture, time, 0.7))
        assert (ours(x, time, text, summary, scale) - answer).norm() > 0.05 * answer.norm()
    assert (answer - expected).norm() < 1e-4 * expected.norm()


@pytest.fixture(scope="module")
def flux(tmp_path_factory):
    pipe, folder = build_flux(guided=True), tmp_path_factory.mktemp("flux")
    pipe.save_pretrained(folder / "base")
    shapes = {"ip_adapter_proj_model.proj.weight": (4 * 24, 10), "ip_adapter_proj_model.proj.bias": (4 * 24,)}
    shapes |= {"ip_adapter_proj_model.norm.weight": (24,), "ip_adapter_proj_model.norm.bias": (24,)}
    for i in range(2):
        for part in "kv":
            stem = f"double_blocks.{i}.processor.ip_adapter_double_stream_{part}_proj"
            shapes |= {f"{stem}.weight": (32, 24), f"{stem}.bias": (32,)}
    save_file(drawn(shapes, 0.5), folder / "ip_adapter.safetensors")
    config = transformers.CLIPVisionConfig(image_size=28, patch_size=7, projection_dim=10, **VISION)
    randomised(transformers.CLIPVisionModelWithProjection(config)).save_pretrained(folder / "image_encoder")
    return pipe, nexus.load(folder / "base", device="cpu"), folder


def test_flux_makes_the_pictures_of_the_reference(flux):
    pipe, model, folder = flux
    encoder = transformers.CLIPVisionModelWithProjection.from_pretrained(folder / "image_encoder")
    processor = transformers.CLIPImageProcessorPil(size=28, crop_size=28)
    own = theirs_with(pipe, image_encoder=encoder, feature_extractor=processor)
    own.load_ip_adapter(folder, weight_name="ip_adapter.safetensors")
    own.set_ip_adapter_scale(0.7)
    settings = dict(num_inference_steps=4, guidance_scale=2.5, output_type="np", max_sequence_length=512)
    settings |= {"height": 32, "width": 48}
    theirs = own(PROMPTS, ip_adapter_image=[pil(seen())] * 1, generator=rngs(), **settings).images
    prompted = load_picture_prompt(folder / "ip_adapter.safetensors", model, seen(), weight=0.7)
    plain = painted(model, PROMPTS, **OUR_FLUX)[0]
    assert_same_pictures(painted(model, PROMPTS, adapters=[prompted], **OUR_FLUX)[0], theirs, plain)
    twice = painted(model, PROMPTS, adapters=[prompted, prompted], **OUR_FLUX)[0]
    double = load_picture_prompt(folder / "ip_adapter.safetensors", model, seen(), weight=1.4)
    assert np.abs(twice - painted(model, PROMPTS, adapters=[double], **OUR_FLUX)[0]).max() < 1e-5


@pytest.mark.parametrize("size", [(40, 33), (28, 60), (20, 21)])
def test_pictures_are_squeezed_as_the_reference_squeezes_them(size):
    from nexus.hub.siglip_vision import pixels_of

    processor = transformers.SiglipImageProcessorPil(size={"height": 28, "width": 28})
    theirs = processor(pil(seen(1, *size)), return_tensors="pt").pixel_values[0]
    torch.testing.assert_close(pixels_of(seen(1, *size), 28), theirs, atol=1e-5, rtol=1e-5)


def test_other_bases_and_files_are_refused(sd3, flux, tmp_path):
    (_, model, folder), (_, flux_model, flux_folder) = sd3, flux
    with pytest.raises(ValueError, match=r"another base: Stable Diffusion 3\.5, this is a FluxTransformer"):
        load_picture_prompt(folder / "ip-adapter.bin", flux_model, seen())
    with pytest.raises(ValueError, match=r"another base: FLUX\.1, or .* this is a MMDiT"):
        load_picture_prompt(flux_folder / "ip_adapter.safetensors", model, seen())
    torch.save(instantx(2), tmp_path / "two.bin")
    with pytest.raises(ValueError, match="speaks to 2 blocks of width 16, this base has 3 of width 16"):
        load_picture_prompt(tmp_path / "two.bin", model, seen())
    torch.save(instantx(3), tmp_path / "three.bin")
    with pytest.raises(FileNotFoundError, match=r"no vision encoder in .*image_encoder"):
        load_picture_prompt(tmp_path / "three.bin", model, seen())
    with pytest.raises(ValueError, match="vision encoder with hidden_size 16 is wanted"):
        encoder = tmp_path / "image_encoder"
        encoder.mkdir()
        (encoder / "config.json").write_text('{"hidden_size": 8}')
        load_picture_prompt(tmp_path / "three.bin", model, seen())
    prompted = load_picture_prompt(folder / "ip-adapter.bin", model, [seen()] * 3)
    with pytest.raises(ValueError, match="one picture, or 2 of them"):
        model.generate(PROMPTS, adapters=[prompted])
