"""`nexus image` on a tiny pipeline folder of every kind: it paints, and refuses what cannot be before it does."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from nexus.media.image import Image

sys.path.append(str(Path(__file__).parent.parent / "models" / "diffusion"))
pytest.importorskip("diffusers")
from tiny_folders import Folders

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # the references' own
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
FETCH = "a pointer of Git LFS in its place: fetch it by `git lfs pull`"
OF_CLASSES = ("dit", "consistency")
OF_WORDS = ("noise", "xl", "sd3", "flux-dev", "flux-schnell", "pixart-sigma", "lcm")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return Folders(tmp_path_factory)


@pytest.fixture
def image(run, folders, tmp_path, capsys):
    """Asks a kind for a picture; (exit code, what was said). Beside it lie pictures and masks."""
    for name, height, width in (("a", 32, 48), ("small", 16, 16), ("odd", 33, 50), ("black", 32, 48)):
        values = np.zeros((height, width, 3), np.uint8)
        values[: height // 2] = 0 if name == "black" else 255
        Image(values).save(tmp_path / f"{name}.png")

    def call(kind, *given, model=None):
        prompt = "3" if kind in OF_CLASSES else "a red boat"
        place = model or folders(kind)[1]
        capsys.readouterr()  # what diffusers says when it makes one
        code, _, err = run("image", prompt, "--model", place, "-o", "o.png", *given)
        assert (tmp_path / "o.png").exists() == (code == 0) and "Traceback" not in err
        return code, " ".join(err.replace("│", " ").split())

    return call


@pytest.mark.parametrize("kind", [*OF_WORDS, *OF_CLASSES])
def test_a_picture(kind, image, tmp_path):
    sized = () if kind in OF_CLASSES else ("--size", "48x32")
    assert image(kind, "--steps", 2, *sized) == (0, "")
    made = Image.load(tmp_path / "o.png")
    assert (made.width, made.height) == ((48, 32) if sized else (made.width, made.width))


@pytest.mark.parametrize("kind", OF_WORDS)
def test_the_line_of_the_handbook(kind, image):
    """Everything at once, as far as a kind knows it: solver, guidance, negative, a part of a picture, strength."""
    distilled = {"flux-dev": ("--guidance", 3), "flux-schnell": (), "lcm": ("--guidance", 3)}
    guided = distilled.get(kind, ("--guidance", 7, "--negative", "grey"))
    part = ("--image", "a.png", "--mask", "a.png", "--strength", 0.6)
    assert image(kind, "--steps", 3, "--solver", "dpmpp-2m", "--size", "48x32", *guided, *part) == (0, "")


@pytest.mark.parametrize("kind", ["noise", "sd3"])
def test_a_picture_goes_on_beyond_its_edges(kind, image, tmp_path):
    assert image(kind, "--steps", 2, "--image", "a.png", "--extend", "16,0,0,32") == (0, "")
    made = Image.load(tmp_path / "o.png")
    assert (made.width, made.height) == (64, 64)


# What is asked for, of which kinds, and what is said.
REFUSED = [
    (OF_WORDS, ("--size", "31x33"), "got 31x33; nearest is 32x32"),
    (OF_WORDS, ("--size", "20000x32"), "got 20000x32; nearest is "),
    (("dit",), ("--size", "31x33"), "width and height must be in multiples of 16, got 31x33; nearest is 32x32"),
    (("consistency",), ("--size", "32x32"), "has no setting 'height'; leave --size out"),
    (OF_WORDS, ("--image", "odd.png"), "got 50x33; nearest is 48x32"),
    (OF_WORDS, ("--image", "a.png", "--mask", "small.png"), "mask must be of the image's size, 48x32, got 16x16"),
    (OF_WORDS, ("--image", "a.png", "--mask", "black.png"), "the mask is black everywhere"),
    (OF_WORDS, ("--image", "a.png", "--strength", 0), "strength must be above 0"),
    (("noise",), ("--image", "a.png", "--extend", "5,0,0,0"), "multiples of 8, got 53x32; nearest is 56x32"),
    (("noise",), ("--image", "a.png", "--extend", "wide"), "'wide' is not LEFT,TOP,RIGHT,BOTTOM in pixels"),
    (("noise",), ("--extend", "8,0,0,0"), "--extend goes on beyond --image"),
    (OF_CLASSES, ("--image", "a.png"), "has no setting 'image'; leave --image out"),
    (OF_WORDS + OF_CLASSES, ("--steps", 0), "greater than or equal to 1"),
    (("noise", "xl", "lcm", "dit"), ("--steps", 1000), "steps must be from 1 to 999, got 1000"),
    (("consistency",), ("--steps", 1000), "steps must be from 1 to 40, got 1000"),
    (("flux-schnell",), ("--guidance", 3), "guidance is learnt into this distilled model: leave guidance_scale out"),
    (("flux-dev", "flux-schnell", "lcm"), ("--negative", "grey"), "this model is distilled"),
    (
        ("noise", "xl", "sd3", "pixart-sigma"),
        ("--guidance", 1, "--negative", "grey"),
        "guidance_scale 1 is no guidance",
    ),
    (("consistency",), ("--guidance", 3), "has no setting 'guidance_scale'; leave --guidance out"),
    (OF_WORDS, ("--solver", "eular"), "solver must be one of"),
    (OF_WORDS, ("--control", "none.png"), "none.png: no such picture"),
    (OF_WORDS, ("--control", "a.png"), "holds no ControlNet; say which reads the picture with --controlnet FOLDER"),
    (OF_CLASSES, ("--control", "a.png"), "--control and --like need a StableDiffusion"),
    (OF_WORDS, ("--lora", "none.safetensors"), "none.safetensors: no such LoRA"),
]


@pytest.mark.parametrize(
    ("kinds", "given", "said"), REFUSED, ids=[" ".join(map(str, given)) for _, given, _ in REFUSED]
)
def test_what_cannot_be_is_refused(kinds, given, said, image):
    for kind in kinds:
        code, sentence = image(kind, *given)
        assert code == 2 and said in sentence, (kind, sentence)


@pytest.mark.parametrize("kind", ["noise", "sd3", "flux-dev", "pixart-sigma"])
def test_adapters_of_another_kind_are_refused(kind, image, folders):
    pipe, folder = folders(kind)
    code, said = image(kind, "--control", "a.png", "--controlnet", folder)
    assert code == 2 and f"is no ControlNet, but {type(pipe).__name__}: it holds model_index.json" in said
    code, said = image(kind, "--lora", folder)
    assert code == 2 and "no LoRA; expected one of adapter_model.safetensors" in said
    code, said = image(kind, "--like", "a.png", "--ip-adapter", folder)
    assert code == 2 and ("is a folder; and holds no IP-Adapter's file" in said or kind == "pixart-sigma")


def test_a_lora_for_another_base_names_the_first_layer_that_differs(image, folders, tmp_path):
    from nexus.adapters.lora import LoRA, LoRAConfig
    from nexus.hub.load import load
    from nexus.hub.lora import save_lora

    files = {}
    for kind in ("noise", "xl", "sd3", "flux-dev", "pixart-sigma"):
        network = load(folders(kind)[1], device="cpu").network
        files[kind] = tmp_path / f"{kind}.safetensors"
        lora = LoRA.fresh(network, LoRAConfig(rank=2, targets=("attention", r"\.heads\.", r"\.attn\.")))
        save_lora(files[kind], {"network": lora}, {"network": network})
    for kind, other in (("xl", "noise"), ("flux-dev", "sd3"), ("sd3", "flux-dev"), ("pixart-sigma", "sd3")):
        code, said = image(kind, "--lora", files[other], "--size", "32x32")
        assert code == 2 and "is for another base: layer '" in said, said
    for kind in files:
        assert image(kind, "--lora", f"{files[kind]}:0.8", "--size", "32x32", "--steps", 1) == (0, "")


def nan(path):
    state = load_file(path)
    name = sorted(state)[0]
    state[name].view(-1)[0] = float("nan")
    save_file(state, path, {"format": "pt"})


ALIKE = [pytest.param(kind, marks=pytest.mark.slow) for kind in ("xl", "flux-dev", "pixart-sigma", "dit", "lcm")]


@pytest.mark.parametrize("kind", ["noise", "sd3", "consistency", *ALIKE])
def test_damage_is_named_with_its_file(kind, image, folders, tmp_path):
    """NaN in weights, files that are not fetched, JSON that is none: in every part of a folder."""
    original, broken = folders(kind)[1], tmp_path / "broken"
    for part in sorted(path.name for path in original.iterdir() if path.is_dir()):
        shutil.copytree(original, broken)
        place = broken / part
        for path in (*place.glob("*.json"), *place.glob("*.safetensors")):
            kept = path.read_bytes()
            wrong = ('{"a": 1,,}', f"{path.name}: not valid JSON") if path.suffix == ".json" else (nan, "holds NaN")
            unread = {"special_tokens_map.json", "generation_config.json", "preprocessor_config.json"}
            for damage, said in ((POINTER, FETCH), wrong) if path.name not in unread else ():
                damage(path) if callable(damage) else path.write_text(damage)
                code, sentence = image(kind, model=broken)
                assert code == 2 and said in sentence and part in sentence, (path, sentence)
                path.write_bytes(kept)
        shutil.rmtree(place)
        code, sentence = image(kind, model=broken)
        assert code == 2 and f"{part}" in sentence and "missing" in sentence, (part, sentence)
        shutil.rmtree(broken)


def test_a_picture_is_no_file_of_weights(image):
    for option in ("--lora", "--controlnet"):
        code, said = image("noise", "--control", "a.png", option, "a.png")
        assert (code == 2 and "a.png: neither safetensors nor a torch file" in said) or "no ControlNet" in said
