"""What stands in the tables of the digits: trainings, rows and the claims that they put to the test."""

from nexus.metrics.digits_table import Claim, Row
from nexus.metrics.evaluate_stacked import KINDS


def again(run: str, seed: int) -> str:
    """The folder of the same training from another seed."""
    return f"{run}-seed{seed}"


CYCLE = "storybook-cycle-gan"
PERCEPTRONS = ["model.coder.kind=mlp", "model.coder.dims=256,128", "model.likelihood=bernoulli", "loop.steps=800"]
# Of a run's folder: its recipe and what is set.
TRAININGS: dict[str, tuple[str, list[str]]] = {
    "digits-ddpm": ("digits-ddpm", []),
    "digits-ddpm-linear": ("digits-ddpm", ["schedule=linear"]),
    "digits-ddpm-min-snr": ("digits-ddpm", ["min_snr=5"]),
    "digits-ddpm-300": ("digits-ddpm", ["loop.steps=300"]),
    "digits-ddpm-min-snr-300": ("digits-ddpm", ["min_snr=5", "loop.steps=300"]),
    "digits-classes": ("digits-classes", []),
    "digits-flow": ("digits-flow", []),
    "digits-rectified": ("digits-rectified", ["flow=runs/digits-flow/weights"]),
    "digits-consistency": ("digits-consistency", ["teacher=runs/digits-classes/weights"]),
    "digits-consistency-alone": ("digits-consistency", ["teacher=none", "loop.steps=700"]),
    "digits-lcm": ("digits-lcm", ["teacher=runs/digits-classes/weights"]),
    "digits-gan": ("digits-gan", []),
    "digits-gan-r1": ("digits-gan", ["norm=none", "game.r1_weight=1"]),
    "digits-gan-spectral": ("digits-gan", ["norm=spectral"]),
    "digits-gan-augmented": ("digits-gan", ["augment=translation,cutout"]),
    "digits-conditional-gan": ("digits-conditional-gan", []),
    "digits-conditional-gan-spectral": ("digits-conditional-gan", ["norm=spectral", "game.r1_weight=0"]),
    "digits-conditional-gan-concatenation": ("digits-conditional-gan", ["told=concatenation"]),
    "digits-wgan": ("digits-wgan", []),
    "digits-wgan-clipped": ("digits-wgan-clipped", []),
    "digits-vae": ("digits-vae", []),
    "digits-beta-vae": ("digits-beta-vae", []),
    "digits-vae-bernoulli": ("digits-vae", PERCEPTRONS),
    "digits-vae-free-bits": ("digits-vae", [*PERCEPTRONS, "model.free_nats=0.25"]),
    "digits-vae-warm-up": ("digits-vae", [*PERCEPTRONS, "model.warm_up_steps=400"]),
    CYCLE: (CYCLE, []),
    "stacked-gan-plain": ("stacked-gan/plain", []),
    "stacked-gan-batch-norm": ("stacked-gan/batch-norm", []),
    "stacked-gan-r1": ("stacked-gan/r1", []),
    "stacked-gan-spectral": ("stacked-gan/spectral", []),
    "stacked-gan-augmented": ("stacked-gan/augmented", []),
    "stacked-gan-wgan-gp": ("stacked-gan/wgan-gp", []),
}
# Those whose claims hang on the training as much as on the pictures are trained from other seeds too.
REPEATED = (
    *("digits-ddpm", "digits-ddpm-linear", "digits-ddpm-min-snr", "digits-ddpm-300", "digits-ddpm-min-snr-300"),
    *("digits-gan", "digits-gan-r1", "digits-gan-augmented", "digits-wgan"),
    *("stacked-gan-plain", "stacked-gan-batch-norm", "stacked-gan-r1"),
    *("stacked-gan-spectral", "stacked-gan-augmented", "stacked-gan-wgan-gp"),
)
SEEDS = (1, 2)
TRAININGS |= {
    again(run, seed): (TRAININGS[run][0], [*TRAININGS[run][1], f"loop.seed={seed}"])
    for run in REPEATED
    for seed in SEEDS
}

ROWS = (
    Row(name="DDPM, cosine", run="digits-ddpm", settings={"steps": 50}),
    Row(name="DDPM, linear", run="digits-ddpm-linear", settings={"steps": 50}),
    Row(name="DDPM, cosine, min-SNR", run="digits-ddpm-min-snr", settings={"steps": 50}),
    Row(name="DDPM, cosine, stopped early", run="digits-ddpm-300", settings={"steps": 50}),
    Row(name="DDPM, cosine, min-SNR, stopped early", run="digits-ddpm-min-snr-300", settings={"steps": 50}),
    Row(name="DDPM, untrained", run="digits-ddpm", settings={"steps": 50}, untrained=True),
    Row(name="classes, no guidance", run="digits-classes", settings={"steps": 50, "guidance_scale": 1.0}),
    Row(name="classes, guidance 2", run="digits-classes", settings={"steps": 50, "guidance_scale": 2.0}),
    Row(name="classes, guidance 4", run="digits-classes", settings={"steps": 50, "guidance_scale": 4.0}),
    Row(
        name="no class, classifier's guidance 2",
        run="digits-classes",
        settings={"steps": 50, "guidance_scale": 0.0, "classifier_scale": 2.0},
    ),
    Row(
        name="classes, DPM-Solver++",
        run="digits-classes",
        settings={"steps": 10, "guidance_scale": 2.0, "solver": "dpmpp-2m"},
    ),
    Row(name="classes, DDIM in 2 steps", run="digits-classes", settings={"steps": 2, "guidance_scale": 2.0}),
    Row(name="consistency", run="digits-consistency", settings={"steps": 1}),
    Row(name="consistency, two steps", run="digits-consistency", settings={"steps": 2}),
    Row(name="consistency without a teacher, two steps", run="digits-consistency-alone", settings={"steps": 2}),
    Row(name="LCM, guidance 2", run="digits-lcm", settings={"steps": 1, "guidance_scale": 2.0}),
    Row(name="LCM, guidance 2, four steps", run="digits-lcm", settings={"steps": 4, "guidance_scale": 2.0}),
    Row(name="flow matching, Heun", run="digits-flow", settings={"steps": 20}),
    Row(name="flow matching, one Euler step", run="digits-flow", settings={"steps": 1, "solver": "euler"}),
    Row(name="reflow, one Euler step", run="digits-rectified", settings={"steps": 1, "solver": "euler"}),
    Row(name="reflow, Heun", run="digits-rectified", settings={"steps": 20, "solver": "heun"}),
    Row(name="GAN", run="digits-gan"),
    Row(name="GAN, R1", run="digits-gan-r1"),
    Row(name="GAN, spectral norm", run="digits-gan-spectral"),
    Row(name="GAN, augmented", run="digits-gan-augmented"),
    Row(name="conditional GAN, projection", run="digits-conditional-gan"),
    Row(name="conditional GAN, projection, spectral norm", run="digits-conditional-gan-spectral"),
    Row(name="conditional GAN, concatenation", run="digits-conditional-gan-concatenation"),
    Row(name="WGAN, clipped", run="digits-wgan-clipped"),
    Row(name="WGAN-GP", run="digits-wgan"),
    Row(name="VAE", run="digits-vae"),
    Row(name="β-VAE", run="digits-beta-vae"),
)

# Of stacked digits, where there are modes to lose; all on the same networks.
STACKED = (
    Row(name="non-saturating", run="stacked-gan-plain", stacked=True),
    Row(name="the same, the discriminator with batch norm (DCGAN)", run="stacked-gan-batch-norm", stacked=True),
    Row(name="R1", run="stacked-gan-r1", stacked=True),
    Row(name="spectral norm", run="stacked-gan-spectral", stacked=True),
    Row(name="augmented", run="stacked-gan-augmented", stacked=True),
    Row(name="WGAN-GP", run="stacked-gan-wgan-gp", stacked=True),
)

# What VAEs keep in their codes; perceptrons lose units, which either remedy keeps in use.
CODES = (
    Row(name="VAE", run="digits-vae"),
    Row(name="β-VAE, β 4", run="digits-beta-vae"),
    Row(name="perceptrons, Bernoulli", run="digits-vae-bernoulli"),
    Row(name="the same, 0.25 free nats", run="digits-vae-free-bits"),
    Row(name="the same, warm-up over 400 steps", run="digits-vae-warm-up"),
)

CLAIMS = (
    Claim(words="A cosine schedule beats the linear one", first="DDPM, cosine", second="DDPM, linear"),
    Claim(
        words="Min-SNR weights learn sooner",
        first="DDPM, cosine, min-SNR, stopped early",
        second="DDPM, cosine, stopped early",
    ),
    Claim(words="Min-SNR weights end better", first="DDPM, cosine, min-SNR", second="DDPM, cosine"),
    Claim(
        words="Guidance makes classes clearer",
        first="classes, guidance 2",
        second="classes, no guidance",
        figure="class right",
    ),
    Claim(
        words="Guidance makes pictures of a class more alike",
        first="classes, no guidance",
        second="classes, guidance 4",
        figure="MS-SSIM within class",
    ),
    Claim(
        words="Two steps of a consistency model beat two of DDIM",
        first="consistency, two steps",
        second="classes, DDIM in 2 steps",
    ),
    Claim(
        words="Fifty steps of the teacher beat two of the consistency model",
        first="classes, guidance 2",
        second="consistency, two steps",
    ),
    Claim(
        words="Four steps of an LCM beat two of DDIM, for as many passes",
        first="LCM, guidance 2, four steps",
        second="classes, DDIM in 2 steps",
    ),
    Claim(
        words="One step is better after reflow than before",
        first="reflow, one Euler step",
        second="flow matching, one Euler step",
    ),
    Claim(
        words="WGAN-GP covers more classes than the first GAN", first="WGAN-GP", second="GAN", figure="classes covered"
    ),
    Claim(words="WGAN-GP comes nearer to the data than the first GAN", first="WGAN-GP", second="GAN"),
    Claim(words="WGAN-GP comes nearer to the data than clipped weights", first="WGAN-GP", second="WGAN, clipped"),
    Claim(words="R1 brings a GAN nearer to the data", first="GAN, R1", second="GAN"),
    Claim(words="Spectral norm brings a GAN nearer to the data", first="GAN, spectral norm", second="GAN"),
    Claim(words="Differentiable augmentation brings a GAN nearer to the data", first="GAN, augmented", second="GAN"),
    Claim(
        words="R1 keeps pictures of a class unlike, where spectral norm lets them become one",
        first="conditional GAN, projection",
        second="conditional GAN, projection, spectral norm",
        figure="MS-SSIM within class",
    ),
    Claim(
        words="Projection makes classes clearer than concatenation",
        first="conditional GAN, projection",
        second="conditional GAN, concatenation",
        figure="class right",
    ),
)

STACKED_CLAIMS = tuple(
    Claim(
        words=f"{remedy} more kinds than the non-saturating game alone",
        first=row,
        second="non-saturating",
        figure=KINDS,
    )
    for remedy, row in {
        "WGAN-GP covers": "WGAN-GP",
        "R1 covers": "R1",
        "Spectral norm covers": "spectral norm",
        "Differentiable augmentation covers": "augmented",
        "Batch norm in the discriminator covers": "the same, the discriminator with batch norm (DCGAN)",
    }.items()
)
