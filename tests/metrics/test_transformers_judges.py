"""Judges read from `transformers` folders: tiny random ones, against the reference classes' own numbers."""

import json

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from tokenizers import pre_tokenizers

from nexus.media import Audio, Image, Video
from nexus.metrics.aesthetics import HEAD, Aesthetics, aesthetics_judge
from nexus.metrics.clap import Clap, clap_judge
from nexus.metrics.clip_score import Clip, clip_judge
from nexus.metrics.dino import Dino, dino_judge
from nexus.metrics.fad import EMBEDDINGS
from nexus.metrics.judge import MissingJudge, Sample
from nexus.metrics.wavlm import WavLMSpeaker, wavlm_judge

TEXT = {"vocab_size": 300, "hidden_size": 32, "intermediate_size": 37, "num_hidden_layers": 2, "num_attention_heads": 4}
LETTERS = sorted(pre_tokenizers.ByteLevel.alphabet())


def randomised(model):
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def sound(seconds, rate, seed=0):
    samples = np.random.default_rng(seed).uniform(-0.3, 0.3, round(seconds * rate))
    return Audio(samples.astype(np.float32), rate)


def picture(seed=0, height=40, width=60):
    return Image(np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8))


def film(frames=5):
    return Video(np.stack([picture(i).pixels for i in range(frames)]), 8)


def with_published_names(file):
    """The weight norm of the position convolution is spelt the old way in the published file."""
    tensors = load_file(file)
    for old, new in (
        ("weight_g", "parametrizations.weight.original0"),
        ("weight_v", "parametrizations.weight.original1"),
    ):
        tensors[f"wavlm.encoder.pos_conv_embed.conv.{old}"] = tensors.pop(f"wavlm.encoder.pos_conv_embed.conv.{new}")
    save_file(tensors, file, {"format": "pt"})


@pytest.fixture
def wavlm(judges):
    config = transformers.WavLMConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=37, conv_dim=(16, 16, 16),
        conv_stride=(5, 4, 4), conv_kernel=(10, 8, 4), num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2,
        tdnn_dim=(16, 16, 48), tdnn_kernel=(5, 3, 1), tdnn_dilation=(1, 2, 1), xvector_output_dim=24,
        classifier_proj_size=16,
    )  # fmt: skip
    model = randomised(transformers.WavLMForXVector(config))
    model.save_pretrained(judges / "wavlm-base-plus-sv")
    transformers.Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(judges / "wavlm-base-plus-sv")
    with_published_names(judges / "wavlm-base-plus-sv" / "model.safetensors")
    return model


def test_wavlm_as_its_class_hears(wavlm):
    a, b = sound(1.0, 16_000), sound(1.3, 16_000, 1)
    with torch.no_grad():
        x, y = (
            wavlm(torch.tensor((s.samples - s.samples.mean()) / np.sqrt(s.samples.var() + 1e-7))).embeddings[0]
            for s in (a, b)
        )
    assert x.std() > 1e-3
    speaker = WavLMSpeaker()
    np.testing.assert_allclose(speaker.embed(a), (x / x.norm()).numpy(), atol=1e-5)
    assert speaker.similarity(a, b) == pytest.approx(float(torch.cosine_similarity(x, y, dim=0)), abs=1e-5)
    judge = wavlm_judge()
    assert len(judge.weights) == 16 and judge.rate == 16_000 and judge.needs == ("voice",)
    short = judge.values(Sample(prompt="", made=sound(0.2, 16_000), voice=a))
    assert np.isnan(short.values["speaker similarity (WavLM-SV)"]) and "0.5 s is needed, got 0.20 s" in short.note


@pytest.fixture
def clap(judges):
    folder = judges / "clap-htsat-unfused"
    audio = {
        "num_mel_bins": 64, "spec_size": 256, "patch_embeds_hidden_size": 16, "depths": [1, 1], "patch_size": 4,
        "num_attention_heads": [2, 2], "window_size": 8, "hidden_size": 32, "num_hidden_layers": 2,
        "enable_fusion": False, "num_classes": 7,
    }  # fmt: skip
    text = TEXT | {"max_position_embeddings": 80, "projection_dim": 24}
    config = transformers.ClapConfig(text_config=text, audio_config=audio, projection_dim=24)
    model = randomised(transformers.ClapModel(config))
    model.save_pretrained(folder)
    words = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *LETTERS]
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = transformers.RobertaTokenizer.from_pretrained(folder, model_max_length=77)
    transformers.ClapProcessor(transformers.ClapFeatureExtractor(), tokenizer).save_pretrained(folder)
    return model


def units(answer):
    return torch.nn.functional.normalize(answer.pooler_output, dim=-1).numpy()


def test_clap_as_its_class_hears_and_reads(clap, judges):
    processor = transformers.ClapProcessor.from_pretrained(judges / "clap-htsat-unfused")
    long, words = sound(11.5, 48_000), "rain on a tin roof"
    windows = [long.samples[0][second * 48_000 :][:480_000] for second in (0, 1)]
    with torch.no_grad():
        inputs = processor.feature_extractor(
            windows, sampling_rate=48_000, return_tensors="pt", truncation="rand_trunc"
        )
        heard = units(clap.get_audio_features(**inputs))
        read = units(clap.get_text_features(**processor.tokenizer(words, return_tensors="pt")))[0]
    judge = Clap()
    np.testing.assert_allclose(judge.hear(long), heard, atol=1e-5)
    np.testing.assert_allclose(judge.read(words), read, atol=1e-5)
    assert np.abs(judge.read("a dog")[:, None] - judge.read(words)).max() > 1e-3
    assert judge.score(long, words) == pytest.approx(float((heard @ read).mean()), abs=1e-5)
    assert judge.hear(sound(1, 24_000)).shape == (1, 24)  # repeated to a window
    assert judge.read("word " * 200).shape == (24,)  # cut to what the encoder can read
    empty = clap_judge().values(Sample(prompt=words, made=Audio.silence(0, 48_000)))
    assert np.isnan(empty.values["CLAP score"]) and empty.note == "CLAP: an empty sound fits no words"


def test_clap_hears_for_the_frechet_distance(clap):
    embedding = EMBEDDINGS["clap"]()
    assert embedding.embed(sound(12, 24_000)).shape == (3, 24)
    assert embedding.rate == 48_000 and embedding.windows == "10 s, one each 1 s" and len(embedding.weights) == 16


@pytest.fixture
def clip(judges):
    folder = judges / "clip-vit-large-patch14"
    vision = {"hidden_size": 32, "intermediate_size": 37, "num_hidden_layers": 2, "num_attention_heads": 4,
              "image_size": 32, "patch_size": 8}  # fmt: skip
    words = ["<|startoftext|>", "<|endoftext|>", *LETTERS, *(f"{letter}</w>" for letter in LETTERS)]
    text = TEXT | {"vocab_size": len(words), "eos_token_id": 1, "bos_token_id": 0, "max_position_embeddings": 77}
    model = randomised(
        transformers.CLIPModel(transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=24))
    )
    model.save_pretrained(folder)
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = transformers.CLIPTokenizer.from_pretrained(folder, model_max_length=77)
    tokenizer.save_pretrained(folder)
    model.tokenizer = tokenizer
    model.prepare = transformers.CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=32)
    return model


def test_clip_as_its_class_sees_and_reads(clip):
    words = "a red boat"
    pixels = clip.prepare([picture().pixels], return_tensors="pt").pixel_values
    with torch.no_grad():
        seen = units(clip.get_image_features(pixel_values=pixels))
        read = units(clip.get_text_features(**clip.tokenizer(words, return_tensors="pt")))[0]
    judge = Clip()
    np.testing.assert_allclose(judge.see([picture()]).numpy(), seen, atol=1e-4)
    np.testing.assert_allclose(judge.read(words)[0].numpy(), read, atol=1e-5)
    assert judge.score(picture(), words) == pytest.approx(max(0.0, 100 * float(seen[0] @ read)), abs=1e-2)
    near = max(("a red boat", "two dogs", "snow", "x"), key=lambda some: judge.score(picture(), some))
    frames = [judge.score(Image(film(7).frames[place]), near) for place in (0, 2, 4, 6)]
    assert judge.score(film(7), near) == pytest.approx(np.mean(frames), abs=1e-4) and max(frames) > 0
    with pytest.raises(ValueError, match="without frames"):
        judge.score(Video(np.zeros((0, 8, 8, 3), np.uint8), 8), words)
    assert clip_judge().values(Sample(prompt=words, made=picture())).values.keys() == {"CLIP score"}


def test_the_aesthetic_head_is_a_linear_function_of_clip(clip, judges):
    head = {"weight": torch.randn(1, 24), "bias": torch.tensor([5.0])}
    torch.save(head, judges / HEAD)
    with torch.no_grad():
        pixels = clip.prepare([picture().pixels], return_tensors="pt").pixel_values
        seen = units(clip.get_image_features(pixel_values=pixels))
    assert Aesthetics().score(picture()) == pytest.approx(float(seen[0] @ head["weight"][0].numpy()) + 5, abs=1e-3)
    assert len(aesthetics_judge().weights) == 16
    torch.save({"weight": torch.randn(1, 30), "bias": torch.zeros(1)}, judges / HEAD)
    with pytest.raises(MissingJudge, match="LAION aesthetics wants the head sa_0_4_vit_l_14_linear"):
        Aesthetics()


def test_dino_as_its_class_sees(judges):
    config = transformers.ViTConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=37, image_size=32, patch_size=8
    )
    model = randomised(transformers.ViTModel(config, add_pooling_layer=False))
    model.save_pretrained(judges / "dino-vitb16")
    shown = Video(np.stack([picture(i, 32, 32).pixels for i in range(3)]), 8)
    prepare = transformers.ViTImageProcessorPil(
        size={"height": 32, "width": 32}, image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225]
    )
    with torch.no_grad():
        expected = model(prepare(list(shown.frames), return_tensors="pt").pixel_values).last_hidden_state[:, 0]
    torch.testing.assert_close(Dino().features(shown), expected, atol=1e-4, rtol=1e-4)
    still = dino_judge().values(Sample(prompt="", made=Video(shown.frames[[0, 0]], 8)))
    assert still.values["subject consistency"] == pytest.approx(1)
    one = dino_judge().values(Sample(prompt="", made=Video(shown.frames[:1], 8)))
    assert np.isnan(one.values["subject consistency"]) and "at least two frames" in one.note


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (
            wavlm_judge,
            "WavLM-SV wants the files of microsoft/wavlm-base-plus-sv (config.json, model.safetensors …) in ",
        ),
        (clap_judge, "CLAP wants the files of laion/clap-htsat-unfused"),
        (EMBEDDINGS["clap"], "CLAP wants the files of laion/clap-htsat-unfused"),
        (clip_judge, "CLIP wants the files of openai/clip-vit-large-patch14"),
        (
            aesthetics_judge,
            "LAION aesthetics wants the head sa_0_4_vit_l_14_linear.pth of LAION-AI/aesthetic-predictor as",
        ),
        (dino_judge, "DINO wants the files of facebook/dino-vitb16"),
    ],
)
def test_what_is_not_there_is_named_with_its_place(judges, make, sentence):
    with pytest.raises(MissingJudge) as missing:
        make()
    assert str(missing.value).startswith(sentence) and str(judges) in str(missing.value)


def test_folders_of_something_else_are_not_judges(wavlm, judges):
    folder = judges / "dino-vitb16"
    folder.mkdir()
    for name in ("config.json", "model.safetensors"):
        (folder / name).write_bytes((judges / "wavlm-base-plus-sv" / name).read_bytes())
    with pytest.raises(MissingJudge, match="DINO cannot be read from"):
        Dino()
    (folder / "model.safetensors").write_bytes(b"no tensors")
    with pytest.raises(MissingJudge, match="DINO cannot be read from"):
        Dino()
