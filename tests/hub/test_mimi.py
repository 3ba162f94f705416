"""Mimi against transformers' class and Kyutai's own, through the layouts that official weights have."""

import json

import pytest
import torch
from einops import rearrange
from safetensors.torch import load_file, save_file

import nexus
from nexus.codecs.mimi import Mimi, MimiConfig
from nexus.hub import mimi
from nexus.hub.source import Source

transformers = pytest.importorskip("transformers")

SMALL = {
    "upsampling_ratios": [4, 2],
    "num_filters": 4,
    "hidden_size": 32,
    "codebook_size": 32,
    "codebook_dim": 16,
    "vector_quantization_hidden_dimension": 16,
    "num_quantizers": 5,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "head_dim": 8,
    "intermediate_size": 64,
    "upsample_groups": 32,
    "sliding_window": 6,  # steps, of which the clips have hundreds
}
VARIANTS = {
    "official": SMALL,
    "other": SMALL
    | {
        "num_residual_layers": 2,
        "use_conv_shortcut": True,
        "kernel_size": 5,
        "num_semantic_quantizers": 2,
        "upsample_groups": 8,
        "vector_quantization_hidden_dimension": 32,  # the latent's own width: no projections
        "codebook_dim": 32,
        "rope_parameters": {"rope_theta": 100.0, "rope_type": "default"},
    },
}
# Kyutai's name of each of transformers' published ones.
KYUTAI_NAMES = (
    ("encoder.layers.", "encoder.model."),
    ("decoder.layers.", "decoder.model."),
    (".conv.", ".conv.conv."),
    ("downsample.", "downsample.conv."),
    ("upsample.", "upsample.conv."),
    ("_transformer.", "_transformer.transformer."),
    (".self_attn.o_proj.", ".self_attn.out_proj."),
    (".input_layernorm.", ".norm1."),
    (".post_attention_layernorm.", ".norm2."),
    (".mlp.fc", ".linear"),
    (".self_attn_layer_scale.", ".layer_scale_1."),
    (".mlp_layer_scale.", ".layer_scale_2."),
    ("semantic_residual_vector_quantizer.", "rvq_first."),
    ("acoustic_residual_vector_quantizer.", "rvq_rest."),
    (".codebook.initialized", ".codebook._initialized"),
    (".codebook.embed_sum", ".codebook.embedding_sum"),
)


@torch.no_grad()
def randomised(model: torch.nn.Module) -> None:
    """Nothing left at one, zero or a hundredth: norms, biases and layer scales redrawn."""
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        if parameter.ndim == 1:
            parameter.copy_(torch.randn_like(parameter) * 0.2 + ("norm" in name or "scale" in name))


@torch.no_grad()
def filled(sums: torch.Tensor, usage: torch.Tensor, scale: torch.Tensor) -> None:
    usage.copy_(torch.rand_like(usage) + 0.5)
    sums.copy_(torch.randn_like(sums) * scale * usage[:, None])


def reference(**options):
    """transformers' Mimi; its codebooks, zero at first, hold vectors as large as what they quantise."""
    torch.manual_seed(0)
    model = transformers.MimiModel(transformers.MimiConfig(**options)).eval()
    randomised(model)
    with torch.no_grad():
        latent = model.encoder(torch.randn(1, 1, 100 * model.config.frame_size)).latents
        for part in (
            model.quantizer.semantic_residual_vector_quantizer,
            model.quantizer.acoustic_residual_vector_quantizer,
        ):
            scale = (latent if part.input_proj is None else part.input_proj(latent)).std()
            for layer in part.layers:
                filled(layer.codebook.embed_sum, layer.codebook.cluster_usage, scale)
                layer.codebook._embed = None
    return model


def agree(model, encode, decode, length: int, atol: float = 1e-5) -> None:
    """Codes identical, the waveform within `atol` of its own scale."""
    torch.manual_seed(1)
    x = torch.randn(2, 1, length)
    with torch.no_grad():
        codes = encode(x)
        waveform = decode(codes)
    assert min(len(row.unique()) for row in codes.transpose(0, 1)) > 2
    assert waveform.std() > 1e-2
    ours = model.encode(x)
    assert ours.shape == codes.shape
    assert torch.equal(ours, codes)
    heard = model.decode(codes)
    assert heard.shape == waveform.shape
    assert (heard - waveform).abs().max() < atol * waveform.std()


def agree_with_transformers(model, expected, length: int) -> None:
    agree(model, lambda x: expected.encode(x).audio_codes, lambda codes: expected.decode(codes).audio_values, length)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("length", [1, 333, 1600, 1601, 1609])
def test_transformers_folder(variant, length, tmp_path):
    expected = reference(**VARIANTS[variant])
    expected.save_pretrained(tmp_path)
    names = load_file(tmp_path / "model.safetensors").keys()
    assert {"encoder.layers.0.conv.weight", "downsample.conv.weight"} <= names  # as published
    model = nexus.load(tmp_path)
    if length > 300:
        agree_with_transformers(model, expected, length)
    x = torch.randn(2, 1, length)
    assert torch.equal(model.encode(x), expected.encode(x).audio_codes)


def test_names_of_the_newest_class(tmp_path):
    expected = reference(**SMALL)
    expected.save_pretrained(tmp_path)
    state = {name: tensor.clone() for name, tensor in expected.state_dict().items()}
    assert "encoder.encoder_seanet.layers.0.conv.weight" in state
    save_file(state, tmp_path / "model.safetensors")
    agree_with_transformers(nexus.load(tmp_path), expected, 1001)


@pytest.mark.parametrize("n_codebooks", [1, 2, 4])
def test_fewer_codebooks(n_codebooks, tmp_path):
    expected, x = reference(**SMALL), torch.randn(2, 1, 1000)
    expected.save_pretrained(tmp_path)
    model, codes = nexus.load(tmp_path), expected.encode(x, num_quantizers=n_codebooks).audio_codes
    assert torch.equal(model.encode(x, n_codebooks), codes)
    torch.testing.assert_close(model.decode(codes), expected.decode(codes).audio_values, atol=1e-4, rtol=1e-4)


def test_padded_batches_as_transformers_masks_them(tmp_path):
    expected, x = reference(**SMALL), torch.randn(3, 1, 1000)
    expected.save_pretrained(tmp_path)
    lengths = torch.tensor([1000, 777, 16])
    mask = torch.arange(1000) < lengths[:, None]
    codes, model = expected.encode(x * mask[:, None], mask).audio_codes, nexus.load(tmp_path)
    real = expected.get_audio_codes_mask(mask)
    assert model.frame_lengths(lengths).tolist() == real.sum(-1).tolist()
    ours = model.encode(x, lengths=lengths)
    whole = real & (torch.arange(codes.shape[-1]) != codes.shape[-1] - 1)  # it pads the batch's end otherwise
    assert torch.equal(ours.mT[whole], codes.mT[whole])


def kyutai_state(published: dict, n_heads: int) -> dict:
    """The tensors as Kyutai's file has them: q, k and v in one, rotated pairs side by side."""
    state = {}
    for name, tensor in published.items():
        if name.endswith((".k_proj.weight", ".v_proj.weight")):
            continue
        if name.endswith(".q_proj.weight"):
            q, k, v = (published[name.replace(".q_proj.", f".{part}_proj.")] for part in "qkv")
            q, k = (rearrange(w, "(n two e) d -> (n e two) d", n=n_heads, two=2) for w in (q, k))
            name, tensor = name.replace("q_proj.weight", "in_proj_weight"), torch.cat([q, k, v])
        for old, new in KYUTAI_NAMES:
            name = name.replace(old, new)
        if ".layers." in name and ".codebook." in name:
            name = name.replace(".layers.", ".vq.layers.").replace(".codebook.", "._codebook.")
        if name.startswith("upsample."):
            name = "upsample.convtr.convtr.convtr.weight"
        elif name.startswith("decoder.model.") and ".block." not in name and int(name.split(".")[2]) in (2, 5):
            name = name.replace(".conv.conv.", ".convtr.convtr.")
        state[name] = tensor.clone()
    return state


WIDE = SMALL | {"hidden_size": 128, "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 64}


@pytest.mark.parametrize("in_folder", [False, True])
def test_kyutai_file(in_folder, tmp_path):
    """The renamed weights of transformers' class; where a sound ends amid a frame, Kyutai's program adds silence."""
    expected = reference(**WIDE | {"sliding_window": 250})
    expected.save_pretrained(tmp_path / "published")
    state = kyutai_state(load_file(tmp_path / "published" / "model.safetensors"), n_heads=2)
    assert {"decoder.model.2.convtr.convtr.bias", "quantizer.rvq_rest.vq.layers.3._codebook.embedding_sum"} <= set(
        state
    )
    path = tmp_path / "tokenizer-e351c8d8-checkpoint125.safetensors"
    save_file(state, path)
    if in_folder:
        (tmp_path / "published" / "config.json").unlink()
    model = nexus.load(path.parent if in_folder else path)
    assert model.info.kind == "Mimi"
    assert model.config.seanet.ratios == (4, 2)
    assert model.config.silence_to_whole_frames
    agree_with_transformers(model, expected, 300 * 16)  # 600 steps
    x = torch.randn(1, 1, 1001)
    whole = torch.nn.functional.pad(x, (0, -1001 % 16))
    assert torch.equal(model.encode(x), expected.encode(whole).audio_codes)


def kyutai_reference(**options):
    try:
        from moshi.models import loaders
    except (ImportError, OSError) as error:
        pytest.skip(f"moshi is not installed: {error}")
    torch.manual_seed(0)
    config = {
        **loaders._mimi_config,
        "seanet": loaders._seanet_kwargs | options.get("seanet", {}),
        "transformer": loaders._transformer_kwargs | options.get("transformer", {}),
        "quantizer": loaders._quantizer_kwargs | options.get("quantizer", {}),
        "frame_rate": options.get("frame_rate", 12.5),
    }
    model = loaders.get_mimi(None, config, num_codebooks=config["quantizer"]["n_q"])
    randomised(model)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 3:  # PyTorch's own would fade to the biases alone
                parameter.copy_(torch.randn_like(parameter) * (parameter.shape[1:].numel()) ** -0.5)
        latent = model.encode_to_latent(torch.randn(1, 1, 20 * model.frame_size), quantize=False)
        for part in (model.quantizer.rvq_first, model.quantizer.rvq_rest):
            for layer in part.vq.layers:
                filled(layer._codebook.embedding_sum, layer._codebook.cluster_usage, part.input_proj(latent).std())
                layer._codebook._initialized.fill_(1)
                layer._codebook.register_buffer("_embedding", None, persistent=False)
    return model


@pytest.mark.parametrize("spelling", ["files", "class"])
def test_kyutai_class(spelling, tmp_path):
    dim = 128
    expected = kyutai_reference(
        seanet={"dimension": dim, "n_filters": 4, "ratios": [4, 2]},
        transformer={
            "d_model": dim, "input_dimension": dim, "output_dimensions": [dim], "num_heads": 2, "num_layers": 2,
            "dim_feedforward": 64,
        },
        quantizer={"dimension": 16, "input_dimension": dim, "output_dimension": dim, "n_q": 5, "bins": 32},
        frame_rate=1500,
    )  # fmt: skip
    state = {name: tensor.clone() for name, tensor in expected.state_dict().items()}
    if spelling == "files":
        state = {
            n.replace("in_projs.0.weight", "in_proj_weight").replace("_projs.0", "_proj"): t for n, t in state.items()
        }
    path = tmp_path / "tokenizer.safetensors"
    save_file(state, path)
    model = nexus.load(path)
    for length in (5001, 333):  # 626 steps, more than the window of 250
        agree(model, expected.encode, expected.decode, length)


def test_official_presets_are_transformers_defaults():
    assert mimi.config_from_transformers({"model_type": "mimi"}, "x") == MimiConfig()
    defaults = json.loads(transformers.MimiConfig().to_json_string(use_diff=False))
    assert mimi.config_from_transformers(defaults | {"frame_rate": 12.5}, "x") == MimiConfig()


def test_what_does_not_fit_is_named(tmp_path):
    expected = reference(**SMALL)
    expected.save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    lost = "decoder_transformer.layers.1.self_attn.k_proj.weight"
    save_file({n: t for n, t in state.items() if n != lost}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"decoder_transformer.layers.1.qkv.weight"):
        nexus.load(tmp_path)
    save_file(state | {"decoder.layers.99.conv.bias": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"1 unexpected: decoder.layers.99.conv.bias"):
        nexus.load(tmp_path)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"num_key_value_heads": 2}, "num_key_value_heads 2 is not supported; it must be 8"),
        ({"hidden_act": "silu"}, "hidden_act silu"),
        ({"rope_parameters": {"rope_type": "yarn"}}, "'yarn'"),
        ({"encoder_config": None}, "half a Mimi"),
        ({"frame_rate": 25}, "frame_rate 25"),
        ({"use_causal_conv": False}, "causal"),
    ],
)
def test_other_mimis_are_refused(values, said, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "mimi"} | values))
    source = Source("kyutai/mimi", tmp_path)
    assert mimi.recognise(source)
    with pytest.raises(ValueError, match=said):
        mimi.config_from_transformers(source.config, source.name)


def test_other_safetensors_are_not_taken(tmp_path):
    save_file({"weight": torch.zeros(1)}, tmp_path / "a.safetensors")
    (tmp_path / "b.safetensors").write_bytes(b"nothing of the kind")
    for name in ("a", "b"):
        with pytest.raises(ValueError, match="no known layout"):
            nexus.load(tmp_path / f"{name}.safetensors")


@pytest.mark.slow
def test_official_widths(tmp_path):
    expected = reference()
    expected.save_pretrained(tmp_path)
    model = nexus.load(tmp_path)
    assert isinstance(model, Mimi)
    assert (model.frame_rate, model.hop_length, model.bitrate) == (12.5, 1920, 4400)
    torch.manual_seed(1)
    x = torch.randn(1, 1, 12 * 24000 + 7)  # past the window of ten seconds
    with torch.inference_mode():
        codes = expected.encode(x).audio_codes
        ours = model.encode(x)
        assert (ours == codes).float().mean() > 0.999
        waveform = expected.decode(codes).audio_values
        assert (model.decode(codes) - waveform).abs().max() < 1e-4 * waveform.std()


@pytest.mark.slow
def test_official_widths_of_kyutai(tmp_path):
    expected, path = kyutai_reference(), tmp_path / "tokenizer-e351c8d8-checkpoint125.safetensors"
    save_file(expected.state_dict(), path)
    model = nexus.load(path)
    assert model.config == MimiConfig(silence_to_whole_frames=True)
    x = torch.randn(1, 1, 2 * 24000 + 7)
    with torch.inference_mode():
        codes = expected.encode(x)
        assert (model.encode(x) == codes).float().mean() > 0.999
        waveform = expected.decode(codes)
        assert (model.decode(codes) - waveform).abs().max() < 1e-4 * waveform.std()
