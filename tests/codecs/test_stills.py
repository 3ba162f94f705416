import torch

from nexus.codecs.cogvideox_vae import CogVideoXVAE, CogVideoXVAEConfig
from nexus.codecs.stills import Stills


def test_a_picture_is_a_clip_of_one_frame():
    torch.manual_seed(0)
    config = CogVideoXVAEConfig(
        block_out_channels=(4, 8), layers_per_block=1, latent_channels=3, norm_num_groups=2, scaling_factor=0.7
    )
    video = CogVideoXVAE(config).eval()
    stills, images = Stills(video), torch.randn(2, 3, 8, 12)
    with torch.no_grad():
        coded, clip = stills.encode(images), video.encode(images[:, :, None])
        assert coded.mean.shape == (2, 3, 4, 6) and coded.mean.std() > 1e-3
        assert torch.equal(coded.mean, clip.mean[:, :, 0])
        assert torch.equal(coded.log_variance, clip.log_variance[:, :, 0])
        assert torch.equal(stills.decode(coded.mean), video.decode(clip.mean)[:, :, 0])
    torch.testing.assert_close(stills.scaled(coded.mean), 0.7 * coded.mean)
    torch.testing.assert_close(stills.unscaled(stills.scaled(coded.mean)), coded.mean)
