"""What tests against references share: weights that matter everywhere, and comparisons that could fail."""

import torch

WORDS = ["<pad>", "</s>", "<unk>", "<s>", "a", "red", "boat", "on", "the", "sea", "big", "grey", "whale"]


def randomised(network, scale=0.1):
    """Adds noise to every parameter, those that start at zero too, so that nothing is left out of a comparison."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(scale * torch.randn_like(parameter))
    return network.eval()


def assert_same(ours, theirs, atol=1e-5, rtol=1e-4):
    """`atol` counts in the largest value, where that is above 1."""
    assert theirs.std() > 0.1
    torch.testing.assert_close(ours, theirs, atol=atol * max(1.0, theirs.abs().max().item()), rtol=rtol)


def renamed(state, names):
    """The tensors under an original file's names; a tuple of old names is a layer that they are rows of."""
    old = {old for parts in names.values() for old in ([parts] if isinstance(parts, str) else parts)}
    assert old == set(state), sorted(old ^ set(state))
    return {
        new: (state[parts] if isinstance(parts, str) else torch.cat([state[part] for part in parts])).clone()
        for new, parts in names.items()
    }


def tiny_vae(**settings):
    """diffusers' image autoencoder, 8 times smaller than pictures."""
    import diffusers

    settings = {"norm_num_groups": 4, "layers_per_block": 1, "sample_size": 16} | settings
    return randomised(
        diffusers.AutoencoderKL(
            block_out_channels=(8, 8, 8, 8),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            **settings,
        )
    )


def tiny_tokenizer(start, length, pad="<pad>"):
    """Thirteen words; with a `start` as CLIP's, else only an end as T5's."""
    import tokenizers
    import transformers

    words = tokenizers.Tokenizer(tokenizers.models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    single = "<s> $A </s>" if start else "$A </s>"
    words.post_processor = tokenizers.processors.TemplateProcessing(
        single=single, special_tokens=[("<s>", 3), ("</s>", 1)]
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=words,
        pad_token=pad,
        bos_token="<s>" if start else None,
        eos_token="</s>",
        unk_token="<unk>",
        model_max_length=length,
    )


def tiny_clip(width, summary=None):
    """CLIP of 12 tokens; with a projection of its summary, or without one."""
    import transformers

    config = transformers.CLIPTextConfig(
        vocab_size=16,
        hidden_size=width,
        intermediate_size=24,
        projection_dim=summary or 8,
        num_hidden_layers=3,
        num_attention_heads=2,
        max_position_embeddings=12,
        bos_token_id=3,
        eos_token_id=1,
        pad_token_id=0,
    )
    kind = transformers.CLIPTextModelWithProjection if summary else transformers.CLIPTextModel
    return randomised(kind(config))


def tiny_t5(width):
    import transformers

    return randomised(
        transformers.T5EncoderModel(
            transformers.T5Config(vocab_size=16, d_model=width, d_kv=8, d_ff=24, num_layers=1, num_heads=2)
        )
    )


def painted(model, *args, **settings):
    """What a model generates, as numbers in [0, 1] before they are rounded, and the pictures themselves."""
    seen = []
    hook = model.image_vae.decoder.register_forward_hook(lambda module, given, output: seen.append(output))
    images = model.generate(*args, **settings)
    hook.remove()
    return (torch.cat(seen) / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).numpy(), images
