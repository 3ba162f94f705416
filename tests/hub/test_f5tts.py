"""Official F5-TTS folders: recognised, sizes read from the tensors, every tensor accounted for."""

import pytest
import torch
from safetensors.torch import save_file

from nexus.hub import f5tts as hub
from nexus.hub.source import Source

DIM, TEXT, MELS, SYMBOLS, FF = 32, 16, 20, 5, 64


def shapes() -> dict[str, tuple[int, ...]]:
    """Names and shapes as published, one transformer block and one text block."""
    block, words = "transformer_blocks.0", "text_embed.text_blocks.0"
    return {
        "time_embed.time_mlp.0.weight": (DIM, 256),
        "time_embed.time_mlp.0.bias": (DIM,),
        "time_embed.time_mlp.2.weight": (DIM, DIM),
        "time_embed.time_mlp.2.bias": (DIM,),
        "text_embed.text_embed.weight": (SYMBOLS + 1, TEXT),
        f"{words}.dwconv.weight": (TEXT, 1, 7),
        f"{words}.dwconv.bias": (TEXT,),
        f"{words}.norm.weight": (TEXT,),
        f"{words}.norm.bias": (TEXT,),
        f"{words}.pwconv1.weight": (2 * TEXT, TEXT),
        f"{words}.pwconv1.bias": (2 * TEXT,),
        f"{words}.grn.gamma": (1, 1, 2 * TEXT),
        f"{words}.grn.beta": (1, 1, 2 * TEXT),
        f"{words}.pwconv2.weight": (TEXT, 2 * TEXT),
        f"{words}.pwconv2.bias": (TEXT,),
        "input_embed.proj.weight": (DIM, 2 * MELS + TEXT),
        "input_embed.proj.bias": (DIM,),
        "input_embed.conv_pos_embed.conv1d.0.weight": (DIM, DIM // 16, 31),
        "input_embed.conv_pos_embed.conv1d.0.bias": (DIM,),
        "input_embed.conv_pos_embed.conv1d.2.weight": (DIM, DIM // 16, 31),
        "input_embed.conv_pos_embed.conv1d.2.bias": (DIM,),
        "rotary_embed.inv_freq": (8,),
        f"{block}.attn_norm.linear.weight": (6 * DIM, DIM),
        f"{block}.attn_norm.linear.bias": (6 * DIM,),
        **{f"{block}.attn.to_{part}.weight": (DIM, DIM) for part in "qkv"},
        **{f"{block}.attn.to_{part}.bias": (DIM,) for part in "qkv"},
        f"{block}.attn.to_out.0.weight": (DIM, DIM),
        f"{block}.attn.to_out.0.bias": (DIM,),
        f"{block}.ff.ff.0.0.weight": (FF, DIM),
        f"{block}.ff.ff.0.0.bias": (FF,),
        f"{block}.ff.ff.2.weight": (DIM, FF),
        f"{block}.ff.ff.2.bias": (DIM,),
        "norm_out.linear.weight": (2 * DIM, DIM),
        "norm_out.linear.bias": (2 * DIM,),
        "proj_out.weight": (MELS, DIM),
        "proj_out.bias": (MELS,),
    }


def write(folder, name="F5TTS_v1_Base", leave_out=(), n_lines=SYMBOLS, file="model_1250000.safetensors") -> Source:
    place = folder / name
    place.mkdir(parents=True, exist_ok=True)
    state = {
        f"ema_model.transformer.{key}": torch.randn(shape) for key, shape in shapes().items() if key not in leave_out
    }
    state |= {
        "initted": torch.tensor(1.0),
        "step": torch.tensor(5.0),
        "ema_model.mel_spec.mel_stft.window": torch.ones(4),
    }
    save_file(state, place / file)
    (place / "vocab.txt").write_text("".join(f"{c}\n" for c in " abcdefgh"[:n_lines]))
    return Source(str(folder), folder)


@pytest.fixture(autouse=True)
def no_vocoder(monkeypatch):
    monkeypatch.setattr(hub, "_vocoder", lambda source: torch.nn.Identity())


@pytest.mark.parametrize(("name", "v0"), [("F5TTS_v1_Base", False), ("F5TTS_Base", True)])
def test_published_folders_load(tmp_path, name, v0):
    source = write(tmp_path, name)
    assert hub.recognise(source)
    model = hub.load(source)
    config = model.config.network
    assert (config.dim, config.n_layers, config.n_heads, config.text_layers) == (DIM, 1, 2, 1)
    assert (config.n_mels, config.text_dim, config.ff_mult, config.n_symbols) == (MELS, TEXT, 2.0, SYMBOLS)
    assert config.mask_text_padding is not v0 and config.n_rotary_heads == (1 if v0 else None)
    assert model.front_end("a b") == [1, 0, 2] and model.config.mel.clamp == 1e-5


def test_values_land_where_they_belong(tmp_path):
    from safetensors.torch import load_file

    model = hub.load(write(tmp_path))
    state = load_file(tmp_path / "F5TTS_v1_Base" / "model_1250000.safetensors")
    prefix = "ema_model.transformer.transformer_blocks.0"
    fused = torch.cat([state[f"{prefix}.attn.to_{part}.weight"] for part in "qkv"])
    torch.testing.assert_close(model.network.blocks[0].attention.to_qkv.weight.data, fused)
    torch.testing.assert_close(model.network.blocks[0].down.weight.data, state[f"{prefix}.ff.ff.2.weight"])


def test_file_and_version_folder_load_too(tmp_path):
    write(tmp_path)
    folder = tmp_path / "F5TTS_v1_Base"
    file = folder / "model_1250000.safetensors"
    for path in (folder, file):
        assert hub.recognise(Source(str(path), path))
        assert hub.load(Source(str(path), path)).config.network.mask_text_padding


def test_newest_weights_are_taken(tmp_path):
    write(tmp_path, file="model_900.safetensors")
    source = write(tmp_path)
    assert hub._weights(source).name == "model_1250000.safetensors"


def test_missing_tensor_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"1 missing: network\.proj_in\.bias"):
        hub.load(write(tmp_path, leave_out=("input_embed.proj.bias",)))


def test_vocabulary_of_another_model_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"vocab\.txt has 3 lines"):
        hub.load(write(tmp_path, n_lines=3))


def test_other_folders_are_left_to_others(tmp_path):
    (tmp_path / "vocab.txt").write_text("a\n")
    save_file({"x": torch.ones(1)}, tmp_path / "model.safetensors")
    assert not hub.recognise(Source("other", tmp_path))
