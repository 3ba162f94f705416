"""CogVideoX: clips from prompts, refusals, learning, and the whole pipeline against the reference's."""

import dataclasses
import json

import numpy as np
import pytest
import torch

import nexus
from nexus.codecs.cogvideox_vae import CogVideoXVAE, CogVideoXVAEConfig
from nexus.hub import cogvideox, native
from nexus.hub.source import Source
from nexus.media.video import Video
from nexus.models.video.cogvideox import CogVideoX, CogVideoXConfig
from nexus.models.video.cogvideox_transformer import TransformerConfig
from nexus.nn.checkpoint import save_folder

NETWORK = dict(n_layers=2, n_heads=2, head_dim=16, in_channels=3, text_dim=6, time_dim=8, sample_size=(4, 4))
VAE = CogVideoXVAEConfig(block_out_channels=(4, 4, 8), layers_per_block=1, latent_channels=3, norm_num_groups=2)


def redraw(module: torch.nn.Module, std: float = 0.2) -> None:
    """No parameter is zero, so that nothing hides behind a zero."""
    rng = torch.Generator().manual_seed(1)
    for parameter in module.parameters():
        parameter.data = torch.randn(parameter.shape, generator=rng) * std


class FakeText:
    """Token states drawn from a seed that is the prompt; the last token is padding."""

    def __init__(self):
        self.asked: list[list[str]] = []

    def __call__(self, prompts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        self.asked.append(prompts)
        states = [torch.randn(5, 6, generator=torch.Generator().manual_seed(sum(p.encode()))) for p in prompts]
        mask = torch.ones(len(prompts), 5).bool()
        mask[:, -1] = False
        return torch.stack(states) * mask[..., None], mask


@pytest.fixture(params=["sincos", "rope"])
def network_config(request) -> TransformerConfig:
    return TransformerConfig(**NETWORK, positions=request.param)


def build(network: TransformerConfig) -> CogVideoX:
    config = CogVideoXConfig(network=network, frames=9, max_frames=17, size=(16, 24), steps=3, guidance_scale=3.0)
    model, vae = CogVideoX(config).eval(), CogVideoXVAE(VAE).eval()
    redraw(model)
    redraw(vae)
    model.vae, model.text_encoder = vae, FakeText()
    return model


@pytest.fixture
def model() -> CogVideoX:
    return build(TransformerConfig(**NETWORK, attend_padding=False))


def batch_of(rng: torch.Generator, n: int = 4) -> dict[str, torch.Tensor]:
    mask = torch.ones(n, 5).bool()
    mask[0, 3:] = False
    return {
        "latents": torch.randn(n, 3, 3, 4, 4, generator=rng),
        "text": torch.randn(n, 5, 6, generator=rng),
        "text_mask": mask,
    }


def calls_of(model: CogVideoX) -> list[int]:
    """The batch size of every later call of the network."""
    calls: list[int] = []
    model.network.register_forward_pre_hook(lambda _, args: calls.append(len(args[0])))
    return calls


def test_one_prompt_gives_a_clip_and_a_list_a_list(network_config):
    model = build(network_config)
    clip = model.generate("a red boat", seed=3)
    assert isinstance(clip, Video) and clip.frames.shape == (9, 16, 24, 3) and clip.fps == 8
    assert clip.frames.std() > 1
    clips = model.generate(["a red boat"], seed=3)
    assert isinstance(clips, list) and np.array_equal(clips[0].frames, clip.frames)
    longer = model.generate("a red boat", seed=3, frames=17, size=(8, 16), steps=1)
    assert isinstance(longer, Video) and longer.frames.shape == (17, 8, 16, 3)
    still = model.generate("a red boat", seed=3, frames=1, steps=1)
    assert isinstance(still, Video) and still.length == 1


@pytest.mark.parametrize("solver", ["ddim", "ddpm", "dpmpp_2m"])
def test_an_item_of_a_batch_equals_it_alone(model, solver):
    prompts = ["a red boat", "an owl at night"]
    together = model.generate(prompts, seed=5, solver=solver)
    for i, prompt in enumerate(prompts):
        alone = model.generate(prompt, seed=5 + i, solver=solver)
        assert np.abs(alone.frames.astype(int) - together[i].frames).max() <= 1
    other = model.generate(prompts[0], seed=6, solver=solver)
    assert np.abs(other.frames.astype(int) - together[0].frames).max() > 10


@pytest.mark.parametrize("solver", ["ddim", "ddpm", "dpmpp_2m"])
def test_cached_steps_ask_the_network_less(model, solver):
    prompts, calls = ["a red boat", "an owl at night"], calls_of(model)
    together = model.generate(prompts, seed=5, steps=16, solver=solver, cache=0.5)
    assert 4 < len(calls) < 12
    alone = model.generate(prompts[1], seed=6, steps=16, solver=solver, cache=0.5)
    assert np.abs(alone.frames.astype(int) - together[1].frames).max() <= 1
    assert not np.array_equal(model.generate(prompts[1], seed=6, steps=16, solver=solver).frames, alone.frames)


def test_without_a_seed_clips_differ_and_the_global_generator_is_left_alone(model):
    before = torch.get_rng_state()
    a, b = (model.generate("a red boat", steps=1) for _ in range(2))
    assert not np.array_equal(a.frames, b.frames)
    model.loss(batch_of(torch.Generator().manual_seed(0)))
    assert torch.equal(torch.get_rng_state(), before)


def test_progress_counts_every_step_and_an_exception_in_it_stops(model):
    seen = []
    model.generate("a red boat", seed=0, steps=4, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]

    class Stop(Exception):
        pass

    def stop(done: int, total: int) -> None:
        if done == 2:
            raise Stop

    calls = calls_of(model)
    with pytest.raises(Stop):
        model.generate("a red boat", seed=0, steps=4, progress=stop)
    assert len(calls) == 2


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"prompt": " "}, "prompt is empty"),
        ({"prompt": []}, "prompt is empty"),
        ({"prompt": ["a red boat", ""]}, "prompt is empty"),
        ({"frames": 10}, r"8k \+ 1 from 1 to 17, got 10; nearest is 9"),
        ({"frames": 15}, "nearest is 17"),
        ({"frames": 25}, "nearest is 17"),
        ({"frames": 0}, "nearest is 1"),
        ({"size": (20, 24)}, r"multiples of 8, got \(20, 24\); nearest is \(16, 24\)"),
        ({"size": (0, 24)}, r"nearest is \(8, 24\)"),
        ({"steps": 0}, "steps must be from 1 to 1000, got 0"),
        ({"steps": 1001}, "steps must be from 1 to 1000"),
        ({"cache": 3}, "cache must be from 0 .* got 3"),
        ({"cache": 0.5, "steps": 1}, "of 1 none is: leave cache out"),
    ],
)
def test_what_cannot_be_is_refused_before_any_work(model, wrong, message, monkeypatch):
    calls = calls_of(model)
    with pytest.raises(ValueError, match=message):
        model.generate(**{"prompt": "a red boat"} | wrong)
    assert not calls and not model.text_encoder.asked


def test_the_config_names_the_solver_unless_one_is_asked_for(network_config):
    model = build(network_config)
    asked = {solver: model.generate("a red boat", seed=5, solver=solver) for solver in ("ddpm", "dpmpp_2m")}
    assert model.generate("a red boat", seed=5) == asked["dpmpp_2m"] != asked["ddpm"]
    model.config = dataclasses.replace(model.config, solver="ddpm")
    assert model.generate("a red boat", seed=5) == asked["ddpm"]
    assert model.generate("a red boat", seed=5, solver="dpmpp_2m") == asked["dpmpp_2m"]


def test_an_unknown_solver_is_refused(model):
    with pytest.raises(ValueError, match="ddim, ddpm or dpmpp_2m, got 'euler'"):
        model.check(["a red boat"], 9, (16, 24), 3, "euler")


def test_guidance_one_asks_for_no_negative(model):
    calls = calls_of(model)
    plain = model.generate("a red boat", seed=0, steps=1, guidance_scale=1.0)
    assert calls == [1] and model.text_encoder.asked == [["a red boat"]]
    model.generate("a red boat", negative="blurred", seed=0, steps=1, guidance_scale=3.0)
    assert calls == [1, 2] and model.text_encoder.asked[1] == ["a red boat", "blurred"]
    rising = model.generate("a red boat", seed=0, steps=1, guidance_scale=3.0, dynamic_guidance=True)
    assert np.abs(rising.frames.astype(int) - plain.frames).max() <= 1, "the rising scale begins at 1"


def test_padding_is_not_attended_where_so_configured(model, rng):
    batch = batch_of(rng)
    other = batch["text"].masked_fill(~batch["text_mask"][..., None], 7.0)
    step = torch.tensor([999, 500, 3, 0])
    with torch.no_grad():
        a = model(batch["latents"], step, batch["text"], batch["text_mask"])
        torch.testing.assert_close(model(batch["latents"], step, other, batch["text_mask"]), a)
        assert (model(batch["latents"], step, other) - a)[0].abs().max() > 1e-3


def test_every_parameter_gets_a_gradient_and_checkpointing_gives_the_same(network_config, rng):
    model = CogVideoX(CogVideoXConfig(network=network_config)).train()
    redraw(model)
    batch = batch_of(rng)

    def gradients() -> dict[str, torch.Tensor]:
        model.zero_grad()
        model.loss(batch, torch.Generator().manual_seed(0))["loss"].backward()
        return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}

    whole = gradients()
    # One bias of every key is lost in the softmax but for the norm after it, so all of them count.
    assert not [name for name, _ in model.named_parameters() if name not in whole or whole[name].abs().max() == 0]
    model.network.gradient_checkpointing_enable()
    calls: list[int] = []
    model.network.blocks[0].register_forward_pre_hook(lambda *_: calls.append(1))
    recomputed = gradients()
    assert len(calls) == 2, "the block ran again in the backward pass"
    for name, gradient in whole.items():
        torch.testing.assert_close(recomputed[name], gradient, atol=1e-6, rtol=1e-5)


def test_it_learns_a_batch(rng):
    torch.manual_seed(0)
    model, batch = CogVideoX(CogVideoXConfig(network=TransformerConfig(**NETWORK))), batch_of(rng)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(60):
        loss = model.loss(batch, torch.Generator().manual_seed(0))["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0], losses[::10]


def test_a_batch_may_say_how_noised_it_is(model, rng, monkeypatch):
    seen = []
    monkeypatch.setattr(model.network, "forward", lambda x, step, *_: (seen.append(step.tolist()), x)[1])
    model.loss(batch_of(rng) | {"place": torch.tensor([0.0, 0.2504, 0.7005, 1.0])})
    assert seen == [[0, 250, 700, 999]]
    model.loss(batch_of(rng))
    assert [step // 250 for step in seen[1]] == [0, 1, 2, 3]


def test_it_is_saved_and_loaded_with_its_codec(model, tmp_path):
    folder = tmp_path / "clips"
    text_encoder = model.__dict__.pop("text_encoder")
    save_folder(model, folder, kind="cogvideox", config=model.config, parts={"vae": "vae"})
    save_folder(model.vae, folder / "vae", kind="cogvideox-vae", config=VAE)
    loaded = native.load(Source("clips", folder)).eval()
    assert loaded.config == model.config
    loaded.text_encoder = model.text_encoder = text_encoder
    expected, result = (m.generate("a red boat", seed=0) for m in (model, loaded))
    assert np.array_equal(result.frames, expected.frames)


# --- The reference -------------------------------------------------------------------------------------------------

WORDS = ("<pad>", "</s>", "<unk>", "a", "red", "boat", "an", "owl", "at", "night", "blurred")


def pipeline(rope: bool):
    """The reference's whole pipeline with tiny random parts, and a T5 tokenizer of eleven words."""
    diffusers = pytest.importorskip("diffusers")
    import tokenizers
    import transformers

    words = tokenizers.Tokenizer(tokenizers.models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    words.post_processor = tokenizers.processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=226
    )
    text = transformers.T5Config(vocab_size=16, d_model=24, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    transformer = diffusers.CogVideoXTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=16,
        in_channels=4,
        out_channels=4,
        time_embed_dim=8,
        text_embed_dim=24,
        num_layers=2,
        sample_width=6,
        sample_height=4,
        sample_frames=9,
        use_rotary_positional_embeddings=rope,
    ).eval()
    vae = diffusers.AutoencoderKLCogVideoX(
        down_block_types=("CogVideoXDownBlock3D",) * 4,
        up_block_types=("CogVideoXUpBlock3D",) * 4,
        block_out_channels=(4, 4, 4, 8),
        latent_channels=4,
        layers_per_block=1,
        norm_num_groups=2,
        scaling_factor=0.7,
    ).eval()
    encoder = transformers.T5EncoderModel(text).eval()
    for part in (transformer, vae, encoder):
        redraw(part, 0.15)
    scheduler = diffusers.CogVideoXDDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        prediction_type="v_prediction",
        timestep_spacing="trailing",
        rescale_betas_zero_snr=True,
        snr_shift_scale=1.0 if rope else 3.0,
    )
    pipe = diffusers.CogVideoXPipeline(tokenizer, encoder, vae, transformer, scheduler)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.mark.parametrize("rope", [False, True], ids=["2B", "5B"])
def test_a_pipeline_folder_makes_the_clips_of_the_reference(tmp_path, rope):
    pipe = pipeline(rope)
    pipe.save_pretrained(tmp_path)
    model = nexus.load(tmp_path, device="cpu")
    assert isinstance(model, CogVideoX) and model.info.kind == "CogVideoX"
    assert (model.config.frames, model.config.size) == (9, (32, 48))
    assert (model.config.snr_shift, model.config.latent_scale) == (1.0 if rope else 3.0, 0.7)

    prompts = ["a red boat", "an owl at night"]
    noise = torch.stack([torch.randn(4, 3, 4, 6, generator=torch.Generator().manual_seed(s)) for s in (7, 8)])
    with torch.no_grad():
        expected = pipe(
            prompts,
            negative_prompt=["blurred", "blurred"],
            height=32,
            width=48,
            num_frames=9,
            num_inference_steps=5,
            guidance_scale=3.0,
            latents=noise.transpose(1, 2),
            output_type="latent",
        ).frames
        frames = pipe.video_processor.postprocess_video(pipe.decode_latents(expected), output_type="np")
    shown: list[torch.Tensor] = []
    show = model.show
    model.show = lambda latent: (shown.append(latent), show(latent))[1]
    clips = model.generate(prompts, negative="blurred", seed=7, steps=5, guidance_scale=3.0, solver="ddim")
    assert expected.std() > 1e-2 and (expected[0] - expected[1]).abs().max() > 0.05
    torch.testing.assert_close(torch.stack(shown), expected.transpose(1, 2), atol=1e-3, rtol=1e-3)
    for clip, reference in zip(clips, frames, strict=True):
        assert reference.std() > 1e-3
        assert np.abs(clip.frames / 255 - reference).max() < 0.5 / 255 + 1e-3


def test_a_pipeline_folder_without_its_codec_says_so(tmp_path):
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "CogVideoXPipeline"}))
    with pytest.raises(FileNotFoundError, match="vae is missing"):
        nexus.load(tmp_path, device="cpu")


@pytest.mark.slow
@pytest.mark.parametrize("size", ["2b", "5b"])
def test_official_widths_equal_the_reference(tmp_path, rng, size):
    """One layer of each official width, at the latents' official height and width."""
    diffusers = pytest.importorskip("diffusers")
    rope = size == "5b"
    config = TransformerConfig.cogvideox_5b() if rope else TransformerConfig()
    reference = diffusers.CogVideoXTransformer3DModel(
        num_attention_heads=config.n_heads, num_layers=1, use_rotary_positional_embeddings=rope
    ).eval()
    redraw(reference, 0.02)
    reference.save_pretrained(tmp_path)
    model = cogvideox.load(Source("one layer", tmp_path)).eval()
    assert isinstance(model, CogVideoX)
    assert model.config.network == TransformerConfig(
        n_layers=1, n_heads=config.n_heads, positions=config.positions, sample_size=(60, 90)
    )
    x, text = torch.randn(1, 16, 1, 60, 90, generator=rng), torch.randn(1, 226, 4096, generator=rng)
    step, rotation = torch.tensor([500]), None
    if rope:
        from diffusers.models.embeddings import get_3d_rotary_pos_embed

        rotation = get_3d_rotary_pos_embed(64, ((0, 0), (30, 45)), (30, 45), 1)
    with torch.no_grad():
        expected = reference(x.transpose(1, 2), text, step, image_rotary_emb=rotation).sample.transpose(1, 2)
        result = model(x, step, text)
    assert expected.std() > 1e-3
    torch.testing.assert_close(result, expected, atol=1e-4 * expected.abs().max().item(), rtol=1e-4)
