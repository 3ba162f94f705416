"""What diffusers calls the layers that Stable Diffusion 3 and FLUX share: blocks of two streams, and the way in.

Each puts names of its own before these.
"""

JOINT = (
    (r"^context_embedder\.", "text_in."),
    (r"^time_text_embed\.timestep_embedder\.linear_1\.", "time_embed.mlp.0."),
    (r"^time_text_embed\.timestep_embedder\.linear_2\.", "time_embed.mlp.2."),
    (r"^time_text_embed\.text_embedder\.linear_1\.", "summary_embed.0."),
    (r"^time_text_embed\.text_embedder\.linear_2\.", "summary_embed.2."),
    (r"^norm_out\.linear\.", "norm_out.modulation.linear."),
    (r"\.norm1\.linear\.", ".picture.modulation.linear."),
    (r"\.norm1_context\.linear\.", ".text.modulation.linear."),
    (r"\.attn\.to_out\.0\.", ".picture.out."),
    (r"\.attn\.to_add_out\.", ".text.out."),
    (r"\.attn\.norm_(q|k)\.", r".picture.heads.\1_norm."),
    (r"\.attn\.norm_added_(q|k)\.", r".text.heads.\1_norm."),
    (r"\.attn\.add_(q|k|v)_proj\.", r".text.heads.to_\1."),
    (r"\.attn\.", ".picture.heads."),
    (r"\.ff\.net\.0\.proj\.", ".picture.ff.0."),
    (r"\.ff\.net\.2\.", ".picture.ff.2."),
    (r"\.ff_context\.net\.0\.proj\.", ".text.ff.0."),
    (r"\.ff_context\.net\.2\.", ".text.ff.2."),
)
