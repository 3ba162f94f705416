import pytest
import torch
from safetensors.torch import load_file, save_file

from nexus.text.encoders import minilm, read_encoder


@pytest.fixture(scope="module")
def encoder():
    return minilm()


def test_a_prompt_does_not_depend_on_its_neighbours(encoder):
    states, mask = encoder(["a red boat", "a lighthouse stands on a rock above the sea"])
    alone, _ = encoder(["a red boat"])
    n = int(mask[0].sum())
    assert states.shape[-1] == encoder.dim == 384 and n < mask.shape[1]
    torch.testing.assert_close(states[:1, :n], alone, rtol=1e-4, atol=1e-5)
    assert states[0, n:].abs().max() == 0


def test_near_words_land_near(encoder):
    boat, ship, cake = (encoder([word])[0].mean(1)[0] for word in ("boat", "ship", "cake"))
    near, far = torch.cosine_similarity(boat, ship, dim=0), torch.cosine_similarity(boat, cake, dim=0)
    assert near > far + 0.1


def test_a_prompt_that_is_too_long_says_how_long_it_may_be(encoder):
    with pytest.raises(ValueError, match="reads at most 128"):
        encoder(["word " * 500])


@pytest.fixture
def folder(tmp_path):
    transformers = pytest.importorskip("transformers")
    sizes = dict(vocab_size=16, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)
    transformers.T5EncoderModel(transformers.T5Config(**sizes)).save_pretrained(tmp_path)
    return tmp_path


def damaged(folder, change):
    path = folder / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


def test_an_encoder_that_is_whole_is_read(folder):
    from transformers import T5EncoderModel

    encoder = read_encoder(T5EncoderModel, folder)
    for name, tensor in load_file(folder / "model.safetensors").items():
        torch.testing.assert_close(encoder.state_dict()[name], tensor)


NORM = "encoder.final_layer_norm.weight"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop(NORM), r"the tensors do not fit T5EncoderModel: 1 missing: encoder\.final_layer_norm\.weight"),
        (lambda t: t[NORM].fill_(float("nan")), r"encoder\.final_layer_norm\.weight holds NaN"),
    ],
    ids=["missing", "NaN"],
)
def test_an_encoder_that_is_not_whole_is_refused(folder, change, message):
    from transformers import T5EncoderModel

    damaged(folder, change)
    with pytest.raises(ValueError, match=message):
        read_encoder(T5EncoderModel, folder)


def test_a_damaged_file_is_refused(folder):
    from transformers import T5EncoderModel

    whole = (folder / "model.safetensors").read_bytes()
    for content, said in (
        (whole[: len(whole) // 2], "not a readable safetensors file"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS in its place"),
    ):
        (folder / "model.safetensors").write_bytes(content)
        with pytest.raises(ValueError, match=said):
            read_encoder(T5EncoderModel, folder)
