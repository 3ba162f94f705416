import pytest

from nexus.hub.diffusers_config import refuse_others


def test_another_value_is_refused_by_name_and_none_is_ours():
    refuse_others({"act": "silu", "own": 3}, {"act": "silu", "bias": True}, "folder")
    with pytest.raises(ValueError, match=r"folder/config\.json: act = 'gelu' is another network; known is 'silu'"):
        refuse_others({"act": "gelu"}, {"act": "silu"}, "folder")
