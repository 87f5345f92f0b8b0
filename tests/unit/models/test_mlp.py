"""The multilayer perceptron's size and parts."""

from torch import nn

from models import registry


def test_the_books_network_has_its_size() -> None:
    assert registry.check("mlp", {"hidden": [32, 64]}, (1, 1, 10), 1).num_parameters == 2529


def test_no_hidden_layer_is_a_linear_model() -> None:
    assert registry.check("mlp", {"hidden": []}, (3, 8, 8), 10).num_parameters == 193 * 10


def test_every_hidden_layer_gets_its_parts_in_order() -> None:
    options = {"hidden": [5], "batch_norm": True, "dropout": 0.1, "activation": "tanh"}
    kinds = [type(layer) for layer in registry.build("mlp", options, (1, 2, 2), 3).children()]
    assert kinds == [nn.Flatten, nn.Linear, nn.BatchNorm1d, nn.Tanh, nn.Dropout, nn.Linear]
