"""Stable Diffusion 3: whole pipelines against diffusers' on random weights, prompts, learning, what it refuses."""

import re

import numpy as np
import pytest
import torch
from references import painted, randomised, tiny_clip, tiny_t5, tiny_tokenizer, tiny_vae
from safetensors.torch import load_file, save_file
from test_mmdit import original_state, reference

import nexus
from nexus.codecs.image_vae import ImageVAE, ImageVAEConfig
from nexus.media.image import Image
from nexus.models.diffusion.mmdit import MMDiTConfig
from nexus.models.diffusion.stable_diffusion_3 import StableDiffusion3, StableDiffusion3Config
from nexus.process.flow_levels import FlowLevels

diffusers = pytest.importorskip("diffusers")
PROMPTS = ["a red boat on the sea", "a big grey whale"]


def build(t5=True, dynamic=False, shift=0.1):
    network = reference(
        sample_size=4,
        in_channels=16,  # diffusers inpaints with no other number
        out_channels=16,
        joint_attention_dim=32,
        pooled_projection_dim=18,
        qk_norm="rms_norm",
        dual_attention_layers=(0,),
    )
    pipe = diffusers.StableDiffusion3Pipeline(
        transformer=network,
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=dynamic),
        vae=tiny_vae(latent_channels=16, scaling_factor=0.8, shift_factor=shift, use_quant_conv=False),
        text_encoder=tiny_clip(16, 8),
        tokenizer=tiny_tokenizer(True, 12, pad="</s>"),
        text_encoder_2=tiny_clip(12, 10),
        tokenizer_2=tiny_tokenizer(True, 12),
        text_encoder_3=tiny_t5(32) if t5 else None,
        tokenizer_3=tiny_tokenizer(False, 256) if t5 else None,
    )
    pipe.vae.register_to_config(use_post_quant_conv=False)
    pipe.vae.post_quant_conv = None
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="module")
def pipeline():
    return build()


@pytest.fixture(scope="module")
def folder(pipeline, tmp_path_factory):
    """With CLIP's tensors under the names that published folders have."""
    folder = tmp_path_factory.mktemp("sd3")
    pipeline.save_pretrained(folder)
    for part in ("text_encoder", "text_encoder_2"):
        path = folder / part / "model.safetensors"
        names = {
            n: n if n.startswith(("text_model.", "text_projection.")) else f"text_model.{n}" for n in load_file(path)
        }
        save_file({names[n]: t for n, t in load_file(path).items()}, path, metadata={"format": "pt"})
    return folder


def rngs():
    return [torch.Generator().manual_seed(5 + i) for i in range(2)]


def assert_same_pictures(ours, theirs):
    assert theirs.std() > 0.02 and np.abs(ours - theirs).max() < 1e-3


def test_a_pipeline_makes_the_pictures_of_the_reference(pipeline, folder):
    settings = dict(num_inference_steps=5, guidance_scale=4.0, height=32, width=48, generator=rngs(), output_type="np")
    theirs = pipeline(PROMPTS, negative_prompt=["grey sea", "boat"], **settings).images
    model = nexus.load(folder, device="cpu")
    assert isinstance(model, StableDiffusion3) and model.config.size == (32, 32)
    given = dict(steps=5, guidance_scale=4.0, height=32, width=48, seed=5)
    ours, images = painted(model, PROMPTS, negative_prompt=["grey sea", "boat"], **given)
    assert_same_pictures(ours, theirs)
    assert np.abs(images[0].pixels / 255 - theirs[0]).max() < 0.5 / 255 + 1e-3
    other, _ = painted(model, PROMPTS, **given)
    assert np.abs(other - theirs).max() > 2e-3  # the negative prompt is heard


@pytest.mark.parametrize(("t5", "dynamic"), [(False, False), (True, True)])
def test_without_t5_and_with_shifts_by_size(t5, dynamic, tmp_path):
    pipe = build(t5, dynamic)
    pipe.save_pretrained(tmp_path)
    theirs = pipe(PROMPTS, num_inference_steps=3, guidance_scale=1.0, generator=rngs(), output_type="np").images
    model = nexus.load(tmp_path, device="cpu")
    assert (model.text_encoder.t5 is not None) == t5 and (model.config.levels.growth is not None) == dynamic
    assert_same_pictures(painted(model, PROMPTS, steps=3, guidance_scale=1, seed=5)[0], theirs)


def picture():
    values = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    return Image(values).resize(4, 4).resize(32, 32)


@pytest.mark.parametrize(("strength", "steps"), [(0.6, 5), (1.0, 3)])
def test_image_to_image_equals_the_reference(pipeline, folder, strength, steps):
    pipe = diffusers.StableDiffusion3Img2ImgPipeline(**pipeline.components)
    pipe.set_progress_bar_config(disable=True)
    theirs = pipe(
        PROMPTS,
        image=[picture()._picture()] * 2,
        height=32,
        width=32,
        strength=strength,
        num_inference_steps=steps,
        guidance_scale=4.0,
        generator=rngs(),
        output_type="np",
    ).images
    model = nexus.load(folder, device="cpu")
    given = dict(image=picture(), strength=strength, steps=steps, guidance_scale=4.0, seed=5)
    assert_same_pictures(painted(model, PROMPTS, **given)[0], theirs)


def hole():
    """White where it is painted anew: an edge that no 8 x 8 pixels share."""
    values = np.zeros((32, 32), dtype=np.uint8)
    values[8:24, :16] = 255
    return Image(values)


@pytest.mark.parametrize(("strength", "steps"), [(0.6, 5), (1.0, 3)])
def test_inpainting_equals_the_reference(strength, steps, tmp_path):
    """Whose pipeline forgets the latents' shift before it decodes: there is none here."""
    whole = build(shift=0.0)
    whole.save_pretrained(tmp_path)
    pipe = diffusers.StableDiffusion3InpaintPipeline(**whole.components)
    pipe.set_progress_bar_config(disable=True)
    theirs = pipe(
        PROMPTS,
        image=[picture()._picture()] * 2,
        mask_image=[hole()._picture()] * 2,
        height=32,
        width=32,
        strength=strength,
        num_inference_steps=steps,
        guidance_scale=4.0,
        generator=rngs(),
        output_type="np",
    ).images
    model = nexus.load(tmp_path, device="cpu")
    given = dict(image=picture(), strength=strength, steps=steps, guidance_scale=4.0, seed=5)
    assert_same_pictures(painted(model, PROMPTS, mask=hole(), **given)[0], theirs)


def test_long_prompts_are_read_to_their_end(folder):
    encode = nexus.load(folder, device="cpu").text_encoder
    short, long = "a red boat on the sea", " ".join(["a red boat on the sea"] * 2)
    states, summary = encode([short, long])
    alone, alone_summary = encode([long])
    assert states.shape == (2, 24 + 256, 32) and encode([short])[0].shape == (1, 12 + 256, 32)
    torch.testing.assert_close(states[1:], alone)
    torch.testing.assert_close(summary[1:], alone_summary)
    changed = encode([long[: -len("sea")] + "whale"])[0]
    assert (changed - alone)[:, 12:24].abs().max() > 1e-3  # the second window
    with pytest.raises(ValueError, match="the text encoder reads at most 256: shorten it"):
        encode([" ".join(["sea"] * 300)])


def test_weighted_words_count_in_the_clips_and_are_plain_words_to_t5(folder):
    encode = nexus.load(folder, device="cpu").text_encoder
    plain, weighted = encode(["a red boat"])[0], encode(["a (red:1.5) boat"])[0]
    torch.testing.assert_close(weighted[:, 12:], plain[:, 12:])
    changed = (weighted - plain)[0, :12].abs().amax(-1) > 1e-4
    assert changed.tolist() == [i == 2 for i in range(12)]


def original_vae(state, n=4):
    """Our autoencoder's tensors as latent diffusion first named them; its decoder counted sizes from the other end."""
    rules = [(r"\.blocks\.", ".block."), (r"\.shortcut\.", ".nin_shortcut."), (r"\.middle\.0\.", ".mid.block_1.")]
    rules += [(r"\.middle\.2\.", ".mid.block_2."), (r"\.middle\.1\.out\.", ".mid.attn_1.proj_out.")]
    rules += [(r"\.middle\.1\.", ".mid.attn_1."), (r"(down|up)\.(\d)\.resample\.", r"\1.\2.\1sample.")]
    made = {}
    for name, tensor in state.items():
        name = re.sub(r"up\.(\d)", lambda m: f"up.{n - 1 - int(m[1])}", name)
        for pattern, new in rules:
            name = re.sub(pattern, new, name)
        flat = ".attn_1." in name and tensor.ndim == 2
        parts = tensor.chunk(3) if ".qkv." in name else [tensor]
        for part, piece in zip("qkv", parts, strict=False):
            made[name.replace(".qkv.", f".{part}.")] = (piece[..., None, None] if flat else piece).clone()
    return made


def test_stabilitys_file_is_known_with_its_autoencoder(tmp_path):
    state = original_state(reference(attention_head_dim=64, caption_projection_dim=128))
    file = {f"model.diffusion_model.{n}": t for n, t in state.items()}
    save_file(file, tmp_path / "alone.safetensors")
    model = nexus.load(tmp_path / "alone.safetensors", device="cpu")
    assert model.info.kind == "StableDiffusion3" and model.config.levels == FlowLevels()
    with pytest.raises(ValueError, match="StableDiffusion3 is a network without image_vae and text_encoder"):
        model.generate("a boat")
    sizes = dict(dims=(32, 32, 32, 32), n_blocks=1, latent_channels=16, quant_conv=False)
    vae = randomised(ImageVAE(ImageVAEConfig(**sizes)), 0.02)
    file |= {f"first_stage_model.{n}": t for n, t in original_vae(vae.state_dict()).items()}
    save_file(file | {"text_encoders.clip_l.logit_scale": torch.zeros(1)}, tmp_path / "sd3_medium.safetensors")
    model = nexus.load(tmp_path / "sd3_medium.safetensors", device="cpu")
    latent = torch.randn(1, 16, 4, 4)
    torch.testing.assert_close(model.image_vae.decode(latent), vae.decode(latent))
    assert (model.image_vae.config.scaling_factor, model.image_vae.config.shift_factor) == (1.5305, 0.0609)
    with pytest.raises(ValueError, match="StableDiffusion3 is a network without text_encoder"):
        model.generate("a boat")
    save_file(file | {"other.weight": torch.zeros(1)}, tmp_path / "odd.safetensors")
    with pytest.raises(ValueError, match="1 tensors of no part that is known: other"):
        nexus.load(tmp_path / "odd.safetensors", device="cpu")


@pytest.mark.parametrize("solver", ["dpmpp-2m", "dpmpp-2m-sde", "euler-ancestral", "unipc"])
def test_a_picture_does_not_depend_on_its_batch(folder, solver):
    model = nexus.load(folder, device="cpu")
    together = model.generate(PROMPTS, steps=3, solver=solver, seed=10)
    alone = model.generate(PROMPTS[1], steps=3, solver=solver, seed=11)
    assert np.abs(together[1].pixels.astype(int) - alone.pixels).max() <= 1 and alone.pixels.std() > 1


def test_cached_steps_ask_the_network_less(folder):
    model, asked = nexus.load(folder, device="cpu"), []
    model.network.register_forward_pre_hook(lambda *_: asked.append(1))
    model.generate(PROMPTS, steps=20, seed=10, cache=0.5)
    assert 4 < len(asked) < 15


def test_learns_which_latents_a_text_has():
    network = MMDiTConfig(n_layers=2, n_heads=2, head_dim=16, in_channels=4, out_channels=4, text_dim=8, summary_dim=6)
    network = MMDiTConfig(**(vars(network) | dict(sample_size=4, max_patches=2)))
    torch.manual_seed(0)
    model = StableDiffusion3(StableDiffusion3Config(network=network))
    rng = torch.Generator().manual_seed(3)
    data, text = torch.randn(1, 4, 4, 4, generator=rng), torch.randn(2, 3, 8, generator=rng)
    batch = {"latents": torch.cat([data, -data] * 8), "text": text.repeat(8, 1, 1), "summary": torch.zeros(16, 6)}
    optimizer, losses = torch.optim.AdamW(model.parameters(), lr=3e-3), []
    for _ in range(40):
        loss = model.loss(batch, rng)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-10:]) < 0.7 * np.mean(losses[:5])
    with torch.no_grad():
        velocity = model(torch.randn(1, 4, 4, 4, generator=rng), torch.tensor([1000.0]), text[:1], torch.zeros(1, 6))
    assert np.corrcoef(velocity.ravel(), data.ravel())[0, 1] < -0.3  # noise - data


@pytest.mark.parametrize(
    ("prompt", "settings", "message"),
    [
        (" ", {}, "the prompt is empty"),
        ("a boat", {"width": 40}, "multiples of 16, got 40x32; nearest is 32x32"),
        ("a boat", {"width": 208}, "at most 192"),
        ("a boat", {"steps": 1001}, "from 1 to 1000"),
        ("a boat", {"solver": "lcm"}, "solver must be one of euler"),
        ("a boat", {"image": "picture", "strength": 0}, "strength must be above 0"),
        ("a boat", {"mask": "picture"}, "a mask says where image is painted anew"),
        (["a boat", "a whale"], {"negative_prompt": ["sea"] * 3}, "one text or 2 of them"),
    ],
)
def test_bad_input_is_refused_before_work(folder, prompt, settings, message):
    settings = {name: picture() if value == "picture" else value for name, value in settings.items()}
    with pytest.raises(ValueError, match=message):
        nexus.load(folder, device="cpu").generate(prompt, **settings)


def test_progress_tells_every_step_and_may_stop(folder):
    seen = []

    def progress(done, total):
        seen.append((done, total))
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        nexus.load(folder, device="cpu").generate("a boat", steps=5, seed=0, progress=progress)
    assert seen == [(1, 5), (2, 5)]


def test_gradients_can_be_had_with_recomputed_blocks():
    model = StableDiffusion3(
        StableDiffusion3Config(
            network=MMDiTConfig(
                n_layers=1,
                n_heads=1,
                head_dim=8,
                in_channels=4,
                out_channels=4,
                text_dim=8,
                summary_dim=6,
                sample_size=4,
            )
        )
    )
    randomised(model).train().network.gradient_checkpointing_enable()
    batch = {"latents": torch.randn(2, 4, 4, 4), "text": torch.randn(2, 3, 8), "summary": torch.randn(2, 6)}
    model.loss(batch)["loss"].backward()
    assert model.network.text_in.weight.grad is not None
