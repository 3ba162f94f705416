import pytest
import torch

from nexus.nn.snake import HalfSnake, Snake, SnakeBeta


@pytest.mark.parametrize("activation", [Snake(3), SnakeBeta(3)])
def test_one_period_is_pi_over_alpha_and_it_never_falls(activation):
    x = torch.linspace(-6, 6, 4001).expand(2, 3, -1)
    y = activation(x)
    assert torch.allclose(activation(x + torch.pi) - y, torch.tensor(torch.pi), atol=1e-5)
    assert (y.diff() >= -1e-6).all()
    assert (y - x).amax().item() == pytest.approx(1, abs=1e-4)


def test_alpha_sets_the_frequency_and_the_size_in_snake_and_beta_the_size_in_snake_beta():
    x = torch.full((1, 1, 1), 0.3)
    snake, beta = Snake(1), SnakeBeta(1)
    with torch.no_grad():
        snake.alpha.fill_(2.0)
        beta.alpha.fill_(torch.log(torch.tensor(2.0)).item())
        beta.beta.fill_(torch.log(torch.tensor(4.0)).item())
    sine = torch.sin(torch.tensor(0.6)) ** 2
    assert torch.allclose(snake(x), x + sine / 2)
    assert torch.allclose(beta(x), x + sine / 4)


def test_half_snake_bends_the_first_half_of_the_channels():
    activation, x = HalfSnake(5), torch.randn(2, 5, 7)
    with torch.no_grad():
        activation.snake.alpha.copy_(torch.tensor([0.5, 3.0])[None, :, None])
    y = activation(x)
    assert torch.equal(y[:, :2], activation.snake(x[:, :2]))
    assert torch.equal(y[:, 2:], torch.where(x[:, 2:] > 0, x[:, 2:], 0.01 * x[:, 2:]))


@pytest.mark.parametrize("by_steps", [False, True])
def test_pieces_of_time_without_gradients_are_the_whole(by_steps, monkeypatch):
    from nexus.nn import snake

    monkeypatch.setattr(snake, "_AT_ONCE", 2 * 5 * 7)
    model = snake.Snake(5)
    torch.nn.init.uniform_(model.alpha, 0.5, 2.0)
    for n in (0, 1, 20):
        x = torch.randn(2, n, 5).mT if by_steps else torch.randn(2, 5, n)
        with torch.no_grad():
            pieces = model(x)
        torch.testing.assert_close(pieces, x + (model.alpha * x).sin().square() / model.alpha)
