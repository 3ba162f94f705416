"""Single files in the original names, against the same weights in a pipeline's folder."""

import re

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import nexus

diffusers = pytest.importorskip("diffusers")
transformers = pytest.importorskip("transformers")
BETAS = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "steps_offset": 1}
UNET = {
    "block_out_channels": (64, 128),
    "layers_per_block": 2,
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    "sample_size": 4,
}
RES = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}


def filled(network, seed=1):
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return network.eval()


def original_unet(state, n=2):
    """CompVis' names: blocks of a size, attention beside them and the change of size are counted through."""
    outside = {
        "time_embedding.linear_1": "time_embed.0",
        "time_embedding.linear_2": "time_embed.2",
        "add_embedding.linear_1": "label_emb.0.0",
        "add_embedding.linear_2": "label_emb.0.2",
        "conv_in": "input_blocks.0.0",
        "conv_norm_out": "out.0",
        "conv_out": "out.2",
        "mid_block.resnets.0": "middle_block.0",
        "mid_block.attentions.0": "middle_block.1",
        "mid_block.resnets.1": "middle_block.2",
    }
    for size in range(n):
        for i in range(2):
            outside[f"down_blocks.{size}.resnets.{i}"] = f"input_blocks.{3 * size + i + 1}.0"
            outside[f"down_blocks.{size}.attentions.{i}"] = f"input_blocks.{3 * size + i + 1}.1"
        outside[f"down_blocks.{size}.downsamplers.0.conv"] = f"input_blocks.{3 * size + 3}.0.op"
        for i in range(3):
            outside[f"up_blocks.{size}.resnets.{i}"] = f"output_blocks.{3 * size + i}.0"
            outside[f"up_blocks.{size}.attentions.{i}"] = f"output_blocks.{3 * size + i}.1"
        attends = any(name.startswith(f"up_blocks.{size}.attentions") for name in state)
        outside[f"up_blocks.{size}.upsamplers.0.conv"] = f"output_blocks.{3 * size + 2}.{2 if attends else 1}.conv"
    return renamed(state, outside, inside=RES)


def original_vae(state, n=4):
    outside = {"mid_block.resnets.0": "mid.block_1", "mid_block.attentions.0": "mid.attn_1"}
    outside |= {"mid_block.resnets.1": "mid.block_2"}
    inside = {"conv_shortcut": "nin_shortcut", "group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v"}
    inside |= {"to_out.0": "proj_out", "conv_norm_out": "norm_out"}
    made = {}
    for name, tensor in state.items():
        new = re.sub(r"down_blocks\.(\d)\.resnets", r"down.\1.block", name)
        new = re.sub(r"up_blocks\.(\d)\.resnets", lambda m: f"up.{n - 1 - int(m[1])}.block", new)
        new = re.sub(r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample", new)
        new = re.sub(r"up_blocks\.(\d)\.upsamplers\.0", lambda m: f"up.{n - 1 - int(m[1])}.upsample", new)
        for table in (outside, inside):
            for old, other in table.items():
                new = re.sub(rf"(?<=\.){re.escape(old)}(?=\.)", other, new)
        conv = ".attn_1." in new and tensor.ndim == 2
        made[new] = tensor[:, :, None, None] if conv else tensor
    return made


def renamed(state, outside, inside):
    made = {}
    for name, tensor in state.items():
        stem = next(old for old in outside if name.startswith(f"{old}."))
        rest = name.removeprefix(f"{stem}.")
        for old, new in inside.items():
            rest = re.sub(rf"^{old}(?=\.)", new, rest) if "resnets" in stem else rest
        made[f"{outside[stem]}.{rest}"] = tensor
    return made


def open_clip(state, extra_layer=False):
    """OpenCLIP's names; 2.x's file holds a last layer that is not read."""
    state = {name.removeprefix("text_model."): tensor for name, tensor in state.items()}
    made = {
        "token_embedding.weight": state.pop("embeddings.token_embedding.weight"),
        "positional_embedding": state.pop("embeddings.position_embedding.weight"),
        "ln_final.weight": state.pop("final_layer_norm.weight"),
        "ln_final.bias": state.pop("final_layer_norm.bias"),
        "logit_scale": torch.zeros(()),
    }
    if "text_projection.weight" in state:
        made["text_projection"] = state.pop("text_projection.weight").T
    for name, tensor in state.items():
        match = re.match(r"encoder\.layers\.(\d+)\.(.*)\.(weight|bias)$", name)
        layer, part, kind = f"transformer.resblocks.{match[1]}", match[2], match[3]
        if part in ("self_attn.k_proj", "self_attn.v_proj"):
            continue
        if part == "self_attn.q_proj":
            pieces = [state[name.replace("q_proj", f"{p}_proj")] for p in "qkv"]
            made[f"{layer}.attn.in_proj_{kind}"] = torch.cat(pieces)
            continue
        table = {"self_attn.out_proj": "attn.out_proj", "layer_norm1": "ln_1", "layer_norm2": "ln_2"}
        table |= {"mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj"}
        made[f"{layer}.{table[part]}.{kind}"] = tensor
    if extra_layer:
        n = 1 + max(int(m[1]) for name in made if (m := re.search(r"resblocks\.(\d+)", name)))
        last = {k.replace(f".{n - 1}.", f".{n}."): v for k, v in made.items() if f"resblocks.{n - 1}." in k}
        made |= last | {"text_projection": torch.zeros(64, 64)}
    return made


def clip(dim, projects=None, activation="quick_gelu", pad=1):
    config = transformers.CLIPTextConfig(
        vocab_size=16,
        hidden_size=dim,
        intermediate_size=24,
        projection_dim=projects or dim,
        num_hidden_layers=2,
        num_attention_heads=dim // 64,
        max_position_embeddings=12,
        hidden_act=activation,
        bos_token_id=3,
        eos_token_id=1,
        pad_token_id=pad,
    )
    return filled((transformers.CLIPTextModelWithProjection if projects else transformers.CLIPTextModel)(config))


def tokenizer(pad="</s>"):
    import tokenizers

    words = ["<pad>", "</s>", "<unk>", "<s>", "a", "red", "boat", "on", "the", "sea"]
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made,
        pad_token=pad,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        model_max_length=12,
    )


def vae(scale):
    torch.manual_seed(0)
    return filled(
        diffusers.AutoencoderKL(
            block_out_channels=(32,) * 4,
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=1,
            scaling_factor=scale,
        )
    )


def sd(**changes):
    scheduler = diffusers.DPMSolverMultistepScheduler(**BETAS, **changes.pop("scheduler", {}))
    text_encoder = changes.pop("text_encoder", None) or clip(64)
    words = tokenizer("<pad>" if changes.get("use_linear_projection") else "</s>")
    network = filled(diffusers.UNet2DConditionModel(**(UNET | {"attention_head_dim": 8} | changes)))
    return diffusers.StableDiffusionPipeline(
        vae=vae(0.18215),
        text_encoder=text_encoder,
        tokenizer=words,
        unet=network,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def sdxl():
    network = filled(
        diffusers.UNet2DConditionModel(
            **UNET
            | {
                "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
                "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
                "attention_head_dim": (1, 2),
                "transformer_layers_per_block": (1, 2),
                "use_linear_projection": True,
                "cross_attention_dim": 128,
                "addition_embed_type": "text_time",
                "addition_time_embed_dim": 256,
                "projection_class_embeddings_input_dim": 10 + 6 * 256,
            }
        )
    )
    return diffusers.StableDiffusionXLPipeline(
        vae=vae(0.13025),
        text_encoder=clip(64),
        tokenizer=tokenizer(),
        text_encoder_2=clip(64, 10, "gelu", pad=0),
        tokenizer_2=tokenizer("<pad>"),
        unet=network,
        scheduler=diffusers.EulerDiscreteScheduler(**BETAS, timestep_spacing="leading"),
        force_zeros_for_empty_prompt=True,
        add_watermarker=False,
    )


def single_file(pipe, text):
    """All tensors of a pipeline in the original names, and leftovers of training that published files have."""
    state = {f"model.diffusion_model.{n}": t for n, t in original_unet(pipe.unet.state_dict()).items()}
    state |= {f"first_stage_model.{n}": t for n, t in original_vae(pipe.vae.state_dict()).items()}
    leftovers = {"betas": torch.zeros(3), "sqrt_alphas_cumprod": torch.zeros(3), "model_ema.decay": torch.zeros(())}
    return {name: tensor.clone().contiguous() for name, tensor in (state | text | leftovers).items()}


def prefixed(prefix, state):
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


def in_transformers_names(encoder):
    state = {name.removeprefix("text_model."): tensor for name, tensor in encoder.state_dict().items()}
    return prefixed("text_model.", state | {"embeddings.position_ids": torch.arange(12)[None]})


def kinds():
    def one():
        pipe = sd(cross_attention_dim=64)
        return pipe, prefixed("cond_stage_model.transformer.", in_transformers_names(pipe.text_encoder))

    def two():
        encoder = clip(1024, None, "gelu", pad=0)
        changes = {"cross_attention_dim": 1024, "use_linear_projection": True, "attention_head_dim": (1, 2)}
        pipe = sd(**changes, text_encoder=encoder, scheduler={"prediction_type": "v_prediction"})
        return pipe, prefixed("cond_stage_model.model.", open_clip(encoder.state_dict(), extra_layer=True))

    def xl():
        pipe = sdxl()
        second = open_clip(pipe.text_encoder_2.state_dict())
        first = prefixed("conditioner.embedders.0.transformer.", in_transformers_names(pipe.text_encoder))
        return pipe, first | prefixed("conditioner.embedders.1.model.", second)

    return {"1.5": one, "2.1": two, "xl": xl}


@pytest.mark.parametrize("kind", ["1.5", "2.1", "xl"])
def test_a_file_is_the_pipeline(kind, tmp_path):
    pipe, text = kinds()[kind]()
    pipe.save_pretrained(tmp_path / "folder")
    state = single_file(pipe, text)
    if kind == "1.5":  # as Lightning saves it
        torch.save({"state_dict": state, "global_step": 7}, tmp_path / "folder/model.ckpt")
        file = tmp_path / "folder/model.ckpt"
    else:
        file = tmp_path / "folder/model.safetensors"
        save_file(state, file)
    folder, ours = nexus.load(tmp_path / "folder", device="cpu"), nexus.load(file, device="cpu")
    assert ours.info.kind == "StableDiffusion" and ours.config.network == folder.config.network
    assert ours.config.prediction == folder.config.prediction == ("velocity" if kind == "2.1" else "noise")
    assert ours.config.zero_negative == folder.config.zero_negative and ours.config.solver == folder.config.solver
    for (name, a), (other, b) in zip(ours.state_dict().items(), folder.state_dict().items(), strict=True):
        assert name == other and torch.equal(a, b), name
    asked = {"negative_prompt": "sea", "steps": 3, "height": 32, "width": 32, "seed": 0, "guidance_scale": 4}
    one, other = (m.generate("a red boat", **asked).pixels.astype(int) for m in (ours, folder))
    assert np.abs(one - other).max() <= 1 and one.std() > 5


def test_what_does_not_belong_is_named(tmp_path):
    pipe, text = kinds()["1.5"]()
    state = single_file(pipe, text)
    pipe.tokenizer.save_pretrained(tmp_path / "tokenizer")
    save_file(state | {"another_model.weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"1 tensors of no part that is known: another_model\.weight"):
        nexus.load(tmp_path / "other.safetensors", device="cpu")
    name = "model.diffusion_model.out.2.weight"
    save_file(state | {name: state[name] * float("nan")}, tmp_path / "broken.safetensors")
    with pytest.raises(ValueError, match=r"conv_out\.weight .*NaN"):
        nexus.load(tmp_path / "broken.safetensors", device="cpu")
    without = {name: tensor for name, tensor in state.items() if not name.startswith("cond_stage_model.")}
    save_file(without, tmp_path / "silent.safetensors")
    with pytest.raises(ValueError, match="no text encoder"):
        nexus.load(tmp_path / "silent.safetensors", device="cpu")


def test_an_autoencoder_in_a_file_of_its_own(tmp_path):
    reference = vae(0.18215)
    state = original_vae(reference.state_dict()) | {"loss.logvar": torch.zeros(())}
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, tmp_path / "vae.safetensors")
    ours, latent = nexus.load(tmp_path / "vae.safetensors", device="cpu"), torch.randn(1, 4, 3, 5)
    with torch.no_grad():
        torch.testing.assert_close(ours.decode(latent), reference.decode(latent).sample, atol=1e-5, rtol=1e-4)
    assert ours.config.scaling_factor == 0.18215
