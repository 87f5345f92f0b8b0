"""The number of parameters and the modules of the multilayer perceptron."""

from torch import nn

from models import registry


def test_mlp_has_the_books_number_of_parameters() -> None:
    assert registry.validate_architecture("mlp", {"hidden": [32, 64]}, (1, 1, 10), 1).num_parameters == 2529


def test_mlp_without_hidden_layers_is_linear() -> None:
    assert registry.validate_architecture("mlp", {"hidden": []}, (3, 8, 8), 10).num_parameters == 193 * 10


def test_hidden_layers_contain_their_modules_in_order() -> None:
    options = {"hidden": [5], "batch_norm": True, "dropout": 0.1, "activation": "tanh"}
    kinds = [type(layer) for layer in registry.build_network("mlp", options, (1, 2, 2), 3).children()]
    assert kinds == [nn.Flatten, nn.Linear, nn.BatchNorm1d, nn.Tanh, nn.Dropout, nn.Linear]
