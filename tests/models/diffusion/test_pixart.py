"""PixArt: network and pipelines against diffusers' on random weights; flow, learning, and what it refuses."""

import numpy as np
import pytest
import torch

import nexus
from nexus.codecs.cogvideox_vae import CogVideoXVAE, CogVideoXVAEConfig
from nexus.codecs.stills import Stills
from nexus.hub import native, pixart
from nexus.hub.source import Source, find
from nexus.media.image import Image
from nexus.models.diffusion.learnt_sizes import knows_shapes, nearest_shape
from nexus.models.diffusion.pixart_alpha import PixArt, PixArtConfig
from nexus.models.diffusion.pixart_transformer import PixArtTransformer, PixArtTransformerConfig
from nexus.nn.checkpoint import save_folder

TINY = PixArtTransformerConfig(
    n_layers=2, n_heads=2, head_dim=8, in_channels=3, out_channels=3, text_dim=6, sample_size=8
)
VAE = CogVideoXVAEConfig(
    block_out_channels=(4, 8), layers_per_block=1, latent_channels=3, norm_num_groups=2, scaling_factor=0.7
)
WORDS = ["<pad>", "</s>", "<unk>", "a", "red", "boat", "on", "the", "sea", "big", "grey", "whale"]


def redraw(module: torch.nn.Module, std: float = 0.2) -> None:
    """No parameter is zero, so that nothing hides behind a zero."""
    rng = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=rng) * std)


def fake_text(prompts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """Token states drawn from a seed that is the prompt; the last token is padding."""
    states = [torch.randn(5, 6, generator=torch.Generator().manual_seed(sum(p.encode()))) for p in prompts]
    mask = torch.ones(len(prompts), 5).bool()
    mask[:, -1] = False
    return torch.stack(states) * mask[..., None], mask


@pytest.fixture
def model() -> PixArt:
    model = PixArt(PixArtConfig(network=TINY, process="flow", shift=2.0, size=(16, 8), steps=3)).eval()
    model.image_vae, model.text_encoder = Stills(CogVideoXVAE(VAE).eval()), fake_text
    redraw(model)
    redraw(model.image_vae)
    return model


def reference(spread: float = 0.2, **settings):
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    sizes = {"num_attention_heads": 3, "attention_head_dim": 8, "in_channels": 4, "out_channels": 8, "num_layers": 2}
    sizes |= {"patch_size": 2, "cross_attention_dim": 24, "caption_channels": 20, "sample_size": 8} | settings
    network = diffusers.PixArtTransformer2DModel(**sizes).eval()
    redraw(network, spread)
    return network


@pytest.mark.parametrize(
    "settings",
    [{}, {"sample_size": 128, "interpolation_scale": 2, "use_additional_conditions": True}, {"out_channels": 4}],
    ids=["512", "1024", "no variance"],
)
def test_the_network_equals_the_reference(settings, tmp_path):
    theirs = reference(**settings)
    theirs.save_pretrained(tmp_path)
    ours = pixart.load_transformer(find(tmp_path)).eval()
    x, time, text = torch.randn(2, 4, 6, 10), torch.tensor([3, 900]), torch.randn(2, 7, 20)
    mask, size = torch.ones(2, 7).bool(), torch.tensor([[48.0, 80.0], [100.0, 33.0]])
    mask[1, 4:] = False
    sized = settings.get("use_additional_conditions", False)
    with torch.no_grad():
        expected = theirs(
            x,
            encoder_hidden_states=text,
            timestep=time,
            added_cond_kwargs={"resolution": size, "aspect_ratio": size[:, :1] / size[:, 1:]} if sized else None,
            encoder_attention_mask=mask,
        ).sample
        answer = ours(x, time, text, mask, size if sized else None)
        kept = ours(x, time, ours.text_keys(text), mask, size if sized else None)
    assert expected.std() > 1
    torch.testing.assert_close(answer, expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(kept, answer)


@pytest.mark.slow
def test_official_widths_equal_the_reference(tmp_path):
    official = PixArtTransformerConfig(n_layers=2)
    theirs = reference(
        spread=0.02,
        num_attention_heads=16,
        attention_head_dim=72,
        cross_attention_dim=1152,
        caption_channels=4096,
        sample_size=64,
    )
    theirs.save_pretrained(tmp_path)
    ours = pixart.load_transformer(find(tmp_path)).eval()
    assert ours.config == official
    x, text = torch.randn(1, 4, 64, 64), torch.randn(1, 120, 4096)
    with torch.no_grad():
        expected = theirs(x, encoder_hidden_states=text, timestep=torch.tensor([500])).sample
        answer = ours(x, torch.tensor([500]), text)
    assert (answer - expected).abs().max() < 1e-3 * expected.std()


def pipeline(kind: str, sample_size: int = 128):
    """The reference's whole pipeline with tiny random parts, and a T5 tokenizer of eleven words."""
    diffusers = pytest.importorskip("diffusers")
    import tokenizers
    import transformers

    words = tokenizers.Tokenizer(tokenizers.models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    words.post_processor = tokenizers.processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=300
    )
    text = transformers.T5Config(vocab_size=16, d_model=20, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    torch.manual_seed(0)
    encoder = transformers.T5EncoderModel(text).eval()
    vae = diffusers.AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        norm_num_groups=4,
        layers_per_block=1,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
    ).eval()
    redraw(vae, 0.1)
    sized = kind == "PixArtAlphaPipeline" and sample_size == 128  # theirs tells sizes to no other
    network = reference(sample_size=sample_size, use_additional_conditions=sized)
    scheduler = diffusers.DPMSolverMultistepScheduler()
    pipe = getattr(diffusers, kind)(tokenizer, encoder, vae, network, scheduler)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.mark.parametrize("kind", ["PixArtAlphaPipeline", "PixArtSigmaPipeline"])
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_a_pipeline_folder_makes_the_pictures_of_the_reference(kind, tmp_path):
    pipe = pipeline(kind)
    pipe.save_pretrained(tmp_path)
    model = nexus.load(tmp_path, device="cpu")
    assert isinstance(model, PixArt) and model.info.kind == "PixArt" and model.config.size == (1024, 1024)
    noise = torch.randn((2, 4, 6, 4), generator=torch.Generator().manual_seed(5))
    prompts = ["A red boat on the sea", "a whale"]
    expected = pipe(
        prompts,
        negative_prompt="big",
        height=48,
        width=32,
        latents=noise.clone(),
        num_inference_steps=5,
        guidance_scale=3.0,
        output_type="np",
        use_resolution_binning=False,
        clean_caption=False,
    ).images
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nexus.models.diffusion.latent_start.gaussian", lambda *_, **__: noise.clone())
        asked = {"height": 48, "width": 32, "steps": 5, "guidance_scale": 3.0}
        made = model.generate(prompts, negative_prompt="big", **asked, resolution_binning=False, seed=0)
    pixels = np.stack([image.pixels for image in made]) / 255
    assert expected.std() > 0.05 and abs(expected[0] - expected[1]).max() > 0.05
    assert np.abs(pixels - expected).max() < 1 / 255 + 1e-3  # ours are rounded to 8 bits


def test_another_scheduler_is_refused(tmp_path):
    import json

    pipe = pipeline("PixArtSigmaPipeline")
    pipe.save_pretrained(tmp_path)
    path = tmp_path / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"beta_schedule": "scaled_linear"}))
    with pytest.raises(ValueError, match="beta_schedule"):
        nexus.load(tmp_path, device="cpu")


@pytest.mark.parametrize("kind", ["PixArtAlphaPipeline", "PixArtSigmaPipeline"])
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_other_sizes_are_painted_in_learnt_shapes_as_the_reference_does(kind, tmp_path):
    pipe = pipeline(kind, sample_size=32)
    pipe.save_pretrained(tmp_path)
    model = nexus.load(tmp_path, device="cpu")
    given = {"negative_prompt": "big", "guidance_scale": 3.0, "height": 201, "width": 133}
    theirs = pipe(
        "a whale", num_inference_steps=2, generator=torch.Generator().manual_seed(5), output_type="np", **given
    )
    seen = []
    hook = model.image_vae.decoder.register_forward_hook(lambda module, inputs, output: seen.append(output))
    made = model.generate("a whale", steps=2, seed=5, **given)
    hook.remove()
    assert seen[0].shape[2:] == (304, 208) and (made.height, made.width) == (201, 133)
    assert theirs.images.std() > 0.05 and np.abs(made.pixels / 255 - theirs.images[0]).max() < 0.5 / 255 + 1e-3
    with pytest.raises(ValueError, match="multiples of 16, got 133x201; nearest is 128x208"):
        model.generate("a whale", height=201, width=133, resolution_binning=False)


def test_shapes_are_those_of_the_reference():
    alpha = pytest.importorskip("diffusers.pipelines.pixart_alpha.pipeline_pixart_alpha")
    from diffusers.pipelines.pixart_alpha.pipeline_pixart_sigma import ASPECT_RATIO_2048_BIN as LARGE

    tables = {side: getattr(alpha, f"ASPECT_RATIO_{side}_BIN") for side in (256, 512, 1024)} | {2048: LARGE}
    for side, table in tables.items():
        for size in ((height, width) for height in range(16, 4096, 112) for width in range(16, 4096, 80)):
            near = min(table, key=lambda ratio: abs(float(ratio) - size[0] / size[1]))
            assert nearest_shape(size, side) == tuple(int(length) for length in table[near])
    assert not knows_shapes(128)
    with pytest.raises(ValueError, match="around squares of 256, 512, 1024 or 2048 pixels"):
        PixArtConfig(size=(64, 64), learnt_shapes=True)


def test_a_batch_is_its_items(model):
    both = model.generate(["a boat", "a whale"], seed=3)
    assert both[0] == model.generate("a boat", seed=3) and both[1] == model.generate("a whale", seed=4)
    assert (both[0].height, both[0].width) == (16, 8) and both[0] != both[1]
    few = model.generate("a boat", seed=3, steps=6)
    assert model.generate("a boat", seed=3, steps=6, solver="euler") != few != both[0]
    assert model.generate("a boat", seed=3, guidance_scale=1.0) != both[0]


def test_cached_steps_ask_the_network_less(model):
    asked = []
    hook = model.network.register_forward_pre_hook(lambda *_: asked.append(1))
    model.generate("a red boat", steps=20, seed=0, cache=0.5)
    hook.remove()
    assert 4 < len(asked) < 15


def test_a_picture_to_start_from_is_kept_the_more_the_weaker(model):
    start = Image(np.random.default_rng(0).integers(0, 255, (16, 8, 3)).astype(np.uint8))
    kept = model.image_vae.decode(model.image_vae.encode(start.tensor()[None]).mean)[0]
    codec = Image.from_tensor(kept).pixels.astype(int)

    def change(strength):
        steps: list[tuple[int, int]] = []
        made = model.generate(
            "a boat", image=start, strength=strength, steps=10, seed=0, progress=lambda *step: steps.append(step)
        )
        return np.abs(made.pixels - codec).mean(), len(steps)

    (little, few), (much, all_steps) = change(0.1), change(1.0)
    assert (few, all_steps) == (1, 10) and little < much


def test_a_part_is_painted_and_the_rest_kept(model):
    start = Image(np.random.default_rng(0).integers(0, 255, (16, 8, 3)).astype(np.uint8))
    half = np.zeros((16, 8, 3), np.uint8)
    half[8:] = 255
    seen: list[torch.Tensor] = []
    hook = model.image_vae.video_vae.decoder.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    for prompt, strength in (("a boat", 1), ("a whale", 1), ("a boat", 0.5), ("a whale", 0.5)):
        model.generate(prompt, image=start, mask=Image(half), steps=4, seed=0, strength=strength)
    hook.remove()
    for one, other in ((seen[0], seen[1]), (seen[2], seen[3])):
        torch.testing.assert_close(one[..., :4, :], other[..., :4, :])
        assert ((one - other)[..., 4:, :].abs() > 1e-3).float().mean() > 0.9
    torch.testing.assert_close(seen[0][..., :4, :], seen[2][..., :4, :])
    with pytest.raises(ValueError, match="a mask says where image is painted anew; give image too"):
        model.generate("a boat", mask=Image(half))


def test_progress_counts_steps_and_may_stop(model):
    seen = []
    model.generate("a boat", steps=4, seed=0, progress=lambda *step: seen.append(step))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        model.generate("a boat", progress=stop)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"prompt": " "}, "the prompt is empty"),
        ({"height": 17}, "multiples of 4, got 8x17; nearest is 8x16"),
        ({"steps": 0}, "steps must be from 1 to 999"),
        ({"strength": 0.0, "image": Image(np.zeros((16, 8, 3), np.uint8))}, "strength must be above 0"),
        ({"negative_prompt": ["a", "b"]}, "one text or 1 of them"),
        ({"solver": "lcm"}, "solver must be one of euler"),
    ],
)
def test_what_cannot_be_is_refused(model, settings, message):
    with pytest.raises(ValueError, match=message):
        model.generate(**{"prompt": "a boat"} | settings)


@pytest.mark.parametrize("process", ["diffusion", "flow"])
def test_the_loss_of_a_perfect_network_is_zero_and_another_learns(process, monkeypatch):
    """Data is constant: its noise, and the way to it, can be read off x_t at every time."""
    torch.manual_seed(0)
    model = PixArt(PixArtConfig(network=TINY, process=process))
    data = torch.full((6, 3, 4, 4), 0.5)
    batch = {"latents": data, "text": torch.randn(6, 5, 6), "text_mask": torch.ones(6, 5).bool()}

    def perfect(x_t, time, *_):
        if process == "flow":
            return (x_t - data) / (time / 1000).reshape(-1, 1, 1, 1)
        schedule = model.config.schedule
        alpha, sigma = (level(time).reshape(-1, 1, 1, 1).float() for level in (schedule.alpha, schedule.sigma))
        return (x_t - alpha * data) / sigma

    with monkeypatch.context() as patch:
        patch.setattr(model, "predict", perfect)
        assert model.loss(batch, torch.Generator().manual_seed(0))["loss"] < 1e-6
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for step in range(80):
        loss = model.loss(batch, torch.Generator().manual_seed(step))["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-8:]) < 0.5 * sum(losses[:8])


def test_emphasis_counts_by_the_signal_left():
    model = PixArt(PixArtConfig(network=TINY, process="flow"))
    batch = {"latents": torch.randn(4, 3, 4, 4), "text": torch.randn(4, 5, 6)}

    def loss(**more):
        return model.loss(batch | more, torch.Generator().manual_seed(0))["loss"].item()

    assert loss(emphasis=torch.zeros(4, 4, 4)) == pytest.approx(loss())
    assert loss() < loss(emphasis=torch.ones(4, 4, 4)) < 2 * loss()


def test_a_distilled_model_takes_few_steps_and_no_guidance(model):
    config = PixArtConfig(
        network=TINY,
        process="flow",
        shift=2.0,
        size=(16, 8),
        steps=2,
        solver="lcm",
        guidance_scale=1.0,
        distilled=True,
    )
    assert [round(level.sigma, 4) for level in config.path(2)] == [1, 0.6667, 0]
    few = PixArt(config).eval()
    few.network, few.image_vae, few.text_encoder = model.network, model.image_vae, fake_text
    one = few.generate("a boat", seed=1, steps=1)
    assert one == few.generate(["a whale", "a boat"], seed=0, steps=1)[1] and one != few.generate("a boat", seed=1)
    with pytest.raises(ValueError, match="guidance is learnt into this distilled model"):
        few.generate("a boat", guidance_scale=3.0)
    with pytest.raises(ValueError, match="solver must be one of lcm, got 'euler'"):
        few.generate("a boat", solver="euler")
    with pytest.raises(ValueError, match='the solver "lcm" and a guidance_scale of 1'):
        PixArtConfig(process="flow", distilled=True)


def test_our_own_folder_keeps_everything(model, tmp_path):
    save_folder(model.image_vae.video_vae, tmp_path / "vae", kind="cogvideox-vae", config=VAE)
    save_folder(model, tmp_path, kind="pixart", config=model.config, parts={"image_vae": "vae"})
    again = native.load(Source("mine", tmp_path))
    again.text_encoder = fake_text
    assert isinstance(again.image_vae, Stills)
    assert again.generate("a boat", seed=1) == model.generate("a boat", seed=1)


def test_checkpointing_changes_no_gradient():
    network = PixArtTransformer(TINY)
    redraw(network)
    given = (torch.randn(2, 3, 4, 4), torch.tensor([1.0, 500.0]), torch.randn(2, 5, 6))
    network(*given).square().mean().backward()
    before = {name: p.grad.clone() for name, p in network.named_parameters()}
    network.zero_grad()
    network.gradient_checkpointing_enable()
    network.train()(*given).square().mean().backward()
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(parameter.grad, before[name])


def test_impossible_networks_are_refused():
    with pytest.raises(ValueError, match="out_channels are 3 or twice as many"):
        PixArtTransformerConfig(in_channels=3, out_channels=4)
    with pytest.raises(ValueError, match="multiples of patch_size"):
        PixArtTransformerConfig(sample_size=7)
    sized = PixArtTransformer(PixArtTransformerConfig(n_layers=1, n_heads=3, head_dim=8, size_conditions=True))
    with pytest.raises(ValueError, match="told the picture's size"):
        sized(torch.randn(1, 4, 4, 4), torch.tensor([1]), torch.randn(1, 2, 4096))
