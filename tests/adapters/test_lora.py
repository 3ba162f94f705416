"""LoRA: what it changes, that it comes out again to the bit, and that PEFT computes the same."""

import pytest
import torch
from torch import nn

from nexus.adapters.lora import LoRA, LoRAConfig, LoRAStack, LowRank, attach


class Toy(nn.Module):
    """A convolution, a fused projection and a linear layer."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, stride=2, padding=1)
        self.qkv = nn.Linear(6, 15)
        self.out = nn.Linear(15, 4)

    def forward(self, x):
        return self.out(torch.tanh(self.qkv(self.conv(x).flatten(2).mT)))


def toy(dtype=torch.float32):
    torch.manual_seed(0)
    return Toy().to(dtype), torch.randn(2, 3, 7, 9, dtype=dtype)


def grown(lora, seed=1):
    """A LoRA that learned something."""
    generator = torch.Generator().manual_seed(seed)
    for change in lora:
        change.up.data.copy_(torch.randn(change.up.shape, generator=generator))
    return lora


ALL = LoRAConfig(rank=2, alpha=3, targets=("",))


def test_a_fresh_one_changes_nothing_and_its_parameters_alone_learn():
    network, x = toy()
    before = {name: p.clone() for name, p in network.named_parameters()}
    lora, plain = LoRA.fresh(network, ALL, torch.Generator().manual_seed(0)), network(x)
    assert [change.layer for change in lora] == ["conv", "qkv", "out"]
    with attach(network, lora):
        torch.testing.assert_close(network(x), plain, atol=0, rtol=0)
        optimizer = torch.optim.Adam(lora.parameters(), lr=0.03)
        losses = []
        for _ in range(60):
            loss = (network(x) - 1).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        assert losses[-1] < 0.1 * losses[0]
        assert all(p.grad is None and not p.requires_grad for p in network.parameters())
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in lora.parameters())
        assert (network(x) - plain).abs().max() > 0.1
    assert all(torch.equal(p, before[name]) and p.requires_grad for name, p in network.named_parameters())
    torch.testing.assert_close(network(x), plain, atol=0, rtol=0)


def test_beside_the_layers_and_folded_into_them_are_one():
    network, x = toy()
    lora = grown(LoRA.fresh(network, ALL))
    with attach(network, lora):
        beside = network(x)
    LoRAStack(network).add(lora)
    torch.testing.assert_close(network(x), beside, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_what_was_folded_in_comes_out_to_the_bit(dtype):
    network, x = toy(dtype)
    before, plain = {name: p.clone() for name, p in network.named_parameters()}, network(x)
    first, second = (grown(LoRA.fresh(network, ALL), seed) for seed in (1, 2))
    stack = LoRAStack(network)
    stack.add(first, 0.7)
    once = network(x)
    stack.add(second, -1.3)
    assert (network(x) - once).abs().max() > 0.1
    stack.set([(first, 0.7)])
    torch.testing.assert_close(network(x), once, atol=0, rtol=0)
    stack.set([])
    torch.testing.assert_close(network(x), plain, atol=0, rtol=0)
    assert all(torch.equal(p, before[name]) for name, p in network.named_parameters())


def test_a_stack_is_the_sum_of_its_changes():
    network, _ = toy()
    base = network.qkv.weight.detach().clone()
    first, second = (grown(LoRA.fresh(network, ALL), seed) for seed in (1, 2))
    LoRAStack(network).set([(first, 0.5), (second, 2.0)])
    expected = base + sum(
        w * 1.5 * (change.up @ change.down) for w, change in ((0.5, list(first)[1]), (2, list(second)[1]))
    )
    torch.testing.assert_close(network.qkv.weight, expected, atol=1e-6, rtol=1e-5)


def test_a_change_may_concern_some_rows_alone():
    network, x = toy()
    base = network.qkv.weight.detach().clone()
    change = LowRank("qkv", torch.randn(2, 6), torch.randn(5, 2), scale=0.5, first_row=5)
    lora = LoRA([change])
    with attach(network, lora):
        beside = network(x)
    LoRAStack(network).add(lora)
    torch.testing.assert_close(network(x), beside, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(
        network.qkv.weight[5:10], base[5:10] + 0.5 * change.up @ change.down, atol=1e-6, rtol=1e-5
    )
    assert torch.equal(network.qkv.weight[:5], base[:5]) and torch.equal(network.qkv.weight[10:], base[10:])


def test_equals_peft():
    peft = pytest.importorskip("peft")
    network, x = toy()
    lora = grown(LoRA.fresh(network, ALL))
    with attach(network, lora):
        ours = network(x)
    config = peft.LoraConfig(r=2, lora_alpha=3, target_modules=["conv", "qkv", "out"])
    theirs = peft.get_peft_model(toy()[0], config)
    for change in lora:
        layer = theirs.base_model.model.get_submodule(change.layer)
        layer.lora_A.default.weight.data.copy_(change.down)
        layer.lora_B.default.weight.data.copy_(change.up.view_as(layer.lora_B.default.weight))
    assert (theirs(x) - network(x)).abs().max() > 0.1
    torch.testing.assert_close(ours, theirs(x), atol=1e-5, rtol=1e-4)


def test_another_base_bad_numbers_and_absent_targets_are_refused():
    network, x = toy()
    stack, plain = LoRAStack(network), network(x)
    with pytest.raises(ValueError, match=r"another base: layer 'blocks.3.qkv' is not in this Toy"):
        stack.add(LoRA([LowRank("blocks.3.qkv", torch.ones(2, 6), torch.ones(15, 2))]))
    with pytest.raises(ValueError, match=r"at layer 'qkv' it changes \[15, 8\], where the base has \[15, 6\]"):
        stack.add(LoRA([LowRank("qkv", torch.ones(2, 8), torch.ones(15, 2))]))
    with pytest.raises(ValueError, match="another base"):
        stack.add(LoRA([LowRank("qkv", torch.ones(2, 6), torch.ones(8, 2), first_row=8)]))
    with pytest.raises(ValueError, match="'out' hold NaN"):
        stack.add(LoRA([LowRank("out", torch.full((2, 15), torch.nan), torch.ones(4, 2))]))
    with pytest.raises(ValueError, match="finite number"):
        stack.add(LoRA.fresh(network, ALL), float("inf"))
    with pytest.raises(ValueError, match="no layer's name has cross in it; there are conv, qkv, out"):
        LoRA.fresh(network, LoRAConfig(targets=("cross",)))
    with pytest.raises(ValueError, match="rank must be at least 1"):
        LoRAConfig(rank=0)
    torch.testing.assert_close(network(x), plain, atol=0, rtol=0)
