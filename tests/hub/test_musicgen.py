"""Against transformers' MusicGen classes on tiny random weights, through folders with the published names."""

import json
import re

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from nexus.hub import musicgen
from nexus.hub.source import Source
from nexus.hub.tensors import load_strict, rename
from nexus.models.audio.musicgen import MusicGenConfig
from nexus.models.audio.musicgen_decoder import Decoder
from nexus.process.sampling import Sampling
from nexus.text.music_prompts import Score

transformers = pytest.importorskip("transformers")

PROMPTS = ["slow piano", "a fast happy drum"]
T1 = {"atol": 1e-5, "rtol": 1e-4}


def redraw(model):
    """Nothing is zero, logits differ, codes are not all the same."""
    rng = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if "codebook" in name:
                tensor.copy_(
                    torch.ones(tensor.shape) if "embed" not in name else torch.randn(tensor.shape, generator=rng)
                )
            elif tensor.is_floating_point() and "embed_positions" not in name:
                tensor.normal_(std=0.15, generator=rng)
                if "norm" in name and name.endswith("weight"):
                    tensor.add_(1)
                elif name.endswith("original0"):
                    tensor.fill_(1.5)
    return model.eval()


def tokenizer():
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = ["<pad>", "</s>", "<unk>", "slow", "piano", "a", "fast", "happy", "drum"]
    raw = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    raw.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    special = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=raw, **special)


def tiny(kind, *, stereo=False, dim=24, text_dim=16, n_layers=2):
    n_codebooks = 8 if stereo else 4
    text = transformers.T5Config(vocab_size=20, d_model=text_dim, d_kv=4, d_ff=32, num_layers=2, num_heads=4)
    codec = transformers.EncodecConfig(
        num_filters=4, hidden_size=16, codebook_size=32, codebook_dim=16, target_bandwidths=[1.5]
    )
    decoder = {
        "vocab_size": 32, "num_codebooks": n_codebooks, "hidden_size": dim, "ffn_dim": 32,
        "num_hidden_layers": n_layers, "num_attention_heads": 4,
        "pad_token_id": 32, "bos_token_id": 32, "audio_channels": 1 + stereo,
    }  # fmt: skip
    parts = {"text_encoder": text.to_dict(), "audio_encoder": codec.to_dict()}
    if kind == "melody":
        config = transformers.MusicgenMelodyConfig(
            **parts, decoder=transformers.MusicgenMelodyDecoderConfig(**decoder).to_dict(), chroma_length=9
        )
        model = transformers.MusicgenMelodyForConditionalGeneration(config)
    else:
        config = transformers.MusicgenConfig(**parts, decoder=transformers.MusicgenDecoderConfig(**decoder).to_dict())
        model = transformers.MusicgenForConditionalGeneration(config)
    model = redraw(model)
    generation = model.generation_config
    generation.pad_token_id = generation.bos_token_id = generation.decoder_start_token_id = 32
    generation.eos_token_id, generation.do_sample, generation.guidance_scale = None, False, 3.0
    return model


def write(model, folder):
    """The folder as published: one safetensors file, the config, the tokenizer."""
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    if any("encoder_attn" in name for name in state):  # older files hold the computed table too
        state["decoder.model.decoder.embed_positions.weights"] = torch.zeros(2048, 24)
    state.pop("text_encoder.encoder.embed_tokens.weight")  # tied, held once
    save_file(state, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(model.config.to_dict(), default=str))
    tokenizer().save_pretrained(folder)
    return Source("tiny", folder)


@pytest.fixture(scope="module", params=["text", "stereo", "melody"])
def pair(request, tmp_path_factory):
    """The reference and ours, loaded from the folder that it wrote."""
    reference = tiny("melody" if request.param == "melody" else "text", stereo=request.param == "stereo")
    source = write(reference, tmp_path_factory.mktemp(request.param))
    assert musicgen.recognise(source)
    return reference, musicgen.load(source).eval()


def chroma():
    heard = torch.randint(12, (2, 9), generator=torch.Generator().manual_seed(4))
    return nn.functional.one_hot(heard, 12).mT.float()


def test_logits_with_padded_prompts(pair):
    reference, ours = pair
    n_codebooks = ours.config.n_codebooks
    tokens = torch.randint(0, 33, (2, n_codebooks, 7), generator=torch.Generator().manual_seed(1))
    text = tokenizer()(PROMPTS, return_tensors="pt", padding=True)
    melody = {} if ours.config.melody is None else {"input_features": chroma().mT}
    with torch.no_grad():
        expected = reference(
            input_ids=text.input_ids,
            attention_mask=text.attention_mask,
            decoder_input_ids=tokens.flatten(0, 1),
            **melody,
        ).logits
        states, mask = ours.text_encoder(PROMPTS)
        assert not mask.all()
        states, mask = ours.condition(states, mask, chroma() if melody else None)
        # The reference lets the melody variant attend to padding, whose states are zero.
        actual = ours.decoder(tokens, states, torch.ones_like(mask) if melody else mask)
    expected = expected.unflatten(0, (2, n_codebooks))[:, :, -7:]
    assert expected.std() > 1e-3
    torch.testing.assert_close(actual, expected, **T1)


def greedy_tokens(reference, prompts, n_frames, melody):
    """The reference's codes [B, K, T] by its documented path, guidance 3, read off what it gives its codec."""
    text = tokenizer()(prompts, return_tensors="pt", padding=True)
    features = {} if melody is None else {"input_features": melody.mT.clone()}
    seen, decode = [], reference.audio_encoder.decode

    def record(codes, **settings):
        seen.append(codes[0])
        return decode(codes, **settings)

    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(reference.audio_encoder, "decode", record)
        n_delays = reference.decoder.num_codebooks // reference.config.decoder.audio_channels
        waveform = reference.generate(**text, **features, max_length=n_frames + n_delays)
    return torch.stack(seen, dim=2).flatten(1, 2), waveform  # left and right in turn


def our_tokens(ours, prompts, n_frames, melody):
    conditions = ours._conditions(prompts, (melody, None), [Score()] * len(prompts), 3.0)
    empty = torch.empty(len(prompts), ours.config.n_codebooks, 0, dtype=torch.int64)
    return torch.stack(list(ours._frames(conditions, empty, n_frames, 3.0, Sampling(temperature=0), [])), dim=2)


def test_greedy_tokens_under_guidance_are_equal(pair):
    reference, ours = pair
    with_melody = ours.config.melody is not None
    # Prompts of one length for the melody variant: in a batch the reference lets the shorter attend to padding.
    for prompts in [[prompt] for prompt in PROMPTS] if with_melody else [PROMPTS]:
        for melody in (chroma()[: len(prompts)], None) if with_melody else (None,):
            expected, _ = greedy_tokens(reference, prompts, 30, melody)
            assert torch.equal(our_tokens(ours, prompts, 30, melody), expected)
            assert expected.shape == (len(prompts), ours.config.n_codebooks, 30) and len(expected.unique()) > 5


def test_generated_sound_is_equal(pair):
    reference, ours = pair
    n_frames = 30
    _, expected = greedy_tokens(reference, PROMPTS[:1], n_frames, None)
    actual = ours.generate(PROMPTS[0], duration=n_frames / ours.codec.frame_rate, temperature=0)
    assert actual.rate == 24000 and expected.std() > 1e-3
    torch.testing.assert_close(torch.tensor(actual.samples), expected[0].detach(), atol=1e-4, rtol=1e-3)


def audiocraft_names(state, n_layers):
    """The reference's tensors under audiocraft's names."""
    renamed = {}
    for name, tensor in state.items():
        for old, new in (
            ("decoder.model.decoder.embed_tokens.", "emb."),
            ("decoder.lm_heads.", "linears."),
            ("decoder.model.decoder.layer_norm.", "out_norm."),
            ("decoder.model.decoder.layers.", "transformer.layers."),
            ("self_attn_layer_norm", "norm1"),
            ("encoder_attn_layer_norm", "norm_cross"),
            ("final_layer_norm", "norm2"),
            ("encoder_attn", "cross_attention"),
            ("fc1", "linear1"),
            ("fc2", "linear2"),
            ("audio_enc_to_dec_proj.", "condition_provider.conditioners.self_wav.output_proj."),
            ("enc_to_dec_proj.", "condition_provider.conditioners.description.output_proj."),
        ):
            name = name.replace(old, new)
        renamed[name] = tensor.clone()
    for i in range(n_layers):
        for attention in ("self_attn", "cross_attention"):
            names = [f"transformer.layers.{i}.{attention}.{part}_proj.weight" for part in "qkv"]
            if names[0] in renamed:
                fused = torch.cat([renamed.pop(name) for name in names])
                renamed[f"transformer.layers.{i}.{attention}.in_proj_weight"] = fused
    return renamed


@pytest.mark.parametrize("kind", ["text", "melody"])
def test_audiocraft_files_give_the_same_model(kind, tmp_path):
    reference = tiny(kind)
    ours = musicgen.load(write(reference, tmp_path))
    state = reference.state_dict()
    own = {name: t for name, t in state.items() if not name.startswith(("audio_encoder.", "text_encoder."))}
    own = {name: t for name, t in own.items() if "embed_positions" not in name}
    folder = tmp_path / "audiocraft"
    folder.mkdir()
    best = audiocraft_names(own, 2)
    if kind == "melody":
        best["condition_provider.conditioners.self_wav.chroma.spec.window"] = torch.ones(16)
    torch.save({"best_state": best, "xp.cfg": "transformer_lm: {num_heads: 4}"}, folder / "state_dict.bin")
    codec = {}
    for name, tensor in state.items():
        if name.startswith("audio_encoder."):
            name = re.sub(r"^audio_encoder\.(encoder|decoder)\.layers\.(\d+)\.conv\.", r"\1.model.\2.conv.conv.", name)
            name = re.sub(r"^audio_encoder\.(encoder|decoder)\.layers\.", r"\1.model.", name)
            name = re.sub(r"(block\.\d+|shortcut)\.conv\.", r"\1.conv.conv.", name)
            name = name.replace("audio_encoder.quantizer.layers.", "quantizer.vq.layers.").replace(
                ".codebook.", "._codebook."
            )
            name = name.replace(".parametrizations.weight.original0", ".weight_g")
            codec[name.replace(".parametrizations.weight.original1", ".weight_v")] = tensor.clone()
    # Transposed convolutions of the decoder have their own name.
    for name in list(codec):
        if re.match(r"decoder\.model\.(3|6|9|12)\.conv\.conv\.", name):
            codec[name.replace("conv.conv", "convtr.convtr")] = codec.pop(name)
    torch.save({"best_state": codec}, folder / "compression_state_dict.bin")
    reference.text_encoder.save_pretrained(folder / "t5-base")
    tokenizer().save_pretrained(folder / "t5-base")

    source = Source("audiocraft", folder)
    assert musicgen.recognise(source)
    other = musicgen.load(source)
    mine, theirs = ours.state_dict(), other.state_dict()
    assert mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)
    assert other.config.n_heads == 4 and (other.config.melody is not None) == (kind == "melody")
    for mine, theirs in zip(ours.text_encoder(PROMPTS), other.text_encoder(PROMPTS), strict=True):
        torch.testing.assert_close(mine, theirs)


def test_equal_widths_need_no_projection(tmp_path):
    reference = tiny("text", dim=16, text_dim=16, n_layers=1)
    assert not hasattr(reference, "enc_to_dec_proj")
    ours = musicgen.load(write(reference, tmp_path)).eval()
    assert torch.equal(our_tokens(ours, PROMPTS, 12, None), greedy_tokens(reference, PROMPTS, 12, None)[0])


@pytest.mark.parametrize("change", ["missing", "misshapen", "unexpected"])
def test_tensors_that_do_not_fit_are_named(change, tmp_path):
    reference = tiny("text", n_layers=1)
    source = write(reference, tmp_path)
    state = musicgen.read_tensors(source)
    name = "decoder.model.decoder.layers.0.fc1.weight"
    if change == "unexpected":
        state["decoder.model.decoder.layers.0.fc3.weight"] = state[name].clone()
    elif change == "missing":
        del state[name]
    else:
        state[name] = state[name][:5].clone()
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=rf"{change}.*(ffn_in|fc3)"):
        musicgen.load(source)


@pytest.mark.slow
def test_official_small_width():
    """24 layers of 1024 in 16 heads, four codebooks of 2048: logits and greedy tokens."""
    config = transformers.MusicgenDecoderConfig(ffn_dim=4096)
    torch.manual_seed(0)
    reference = transformers.MusicgenForCausalLM(config).eval()
    for parameter in reference.parameters():
        nn.init.normal_(parameter, std=0.02)
    ours = Decoder(MusicGenConfig.small()).eval()
    names = {f"decoder.{name}": tensor for name, tensor in reference.state_dict().items() if "embed_pos" not in name}
    state = musicgen.convert(rename(names, musicgen.TRANSFORMERS_RULES), MusicGenConfig(text_dim=8))
    load_strict(ours, {name.removeprefix("decoder."): tensor for name, tensor in state.items()}, "small")
    tokens, states = torch.randint(0, 2049, (2, 4, 21)), torch.randn(2, 6, 1024)
    mask = torch.arange(6) < torch.tensor([[6], [4]])
    with torch.no_grad():
        expected = reference(
            tokens.flatten(0, 1),
            encoder_hidden_states=states,
            encoder_attention_mask=mask.long(),
            attention_mask=torch.ones(2, 21),
        ).logits.unflatten(0, (2, 4))
        actual = ours(tokens, states, mask)
    assert expected.std() > 1e-3
    torch.testing.assert_close(actual, expected, atol=1e-4, rtol=1e-3)
