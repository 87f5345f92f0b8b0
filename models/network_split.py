"""Splits a network into its frozen layers (the body) and the layers that are trained (the head)."""

from collections.abc import Collection, Iterable
from typing import Any

from torch import fx, nn

from models.recurrent import Recurrent, TokenEmbedding

RANDOM_MODULES = (nn.modules.dropout._DropoutNd, nn.RReLU)
RANDOM_BY_NAME = frozenset({"StochasticDepth"})  # torchvision's class, compared by name: its import is slow
NORMS = nn.modules.batchnorm._NormBase
LEAVES = (Recurrent, TokenEmbedding)
FEATURES = "features"


class CannotSplit(ValueError):
    """The network has no frozen layers whose outputs can be computed once. The message states the reason."""


class NetworkSplit:
    """The graph of a network, cut into a body, whose layers are frozen, and a head.

    The body is as large as possible: it ends before the first layer that is trained or draws random numbers. Its output
    for a sample is the same in every epoch.

    Attributes:
        body: maps the inputs of the network, float32 (B, *sample), to features (B, *features). It shares its modules
            and parameters with the network.
    """

    def __init__(self, network: nn.Module, frozen: Collection[str]) -> None:
        """Trace and cut the network, whose modules must be in the mode of the training.

        Args:
            network: the network.
            frozen: names of the parameters that are not trained.

        Raises:
            CannotSplit: no layer before the first trained one is frozen, or the outputs of the frozen layers are not
                always the same.
        """
        if network._forward_hooks:
            raise CannotSplit("the outputs of the network are converted after its last layer")
        graph = _trace(network)
        fixed = _find_fixed_nodes(network, graph, frozenset(frozen))
        _check_layers(network, graph, fixed)
        cut = _find_cut(graph, fixed)
        if not any(_has_parameters(network, node) for node in _list_ancestors(cut)):
            raise CannotSplit("no layer with parameters before the first trained layer is frozen")
        self._graph, self._fixed, self._cut = graph, fixed, cut
        self.body = _build_body(network, graph, cut)

    def build_head(self, network: nn.Module) -> fx.GraphModule:
        """Return the module that maps features to the outputs of a network, which has the same layers as the split one.

        The module shares its submodules and parameters with `network`.
        """
        head, copies = fx.Graph(), dict[fx.Node, fx.Node]()
        copies[self._cut] = head.placeholder(FEATURES)
        for node in self._graph.nodes:
            if node not in self._fixed or (node.op == "get_attr" and _is_used_by_others(node, self._fixed)):
                copies[node] = head.node_copy(node, copies.__getitem__)
        head.lint()
        return fx.GraphModule(network, head)


def find_frozen_norms(network: nn.Module) -> list[nn.Module]:
    """Return the batch norms whose parameters are frozen.

    In training mode, their running statistics would still change. Keep them in evaluation mode to prevent this.
    """
    return [
        module
        for module in network.modules()
        if isinstance(module, NORMS)
        and (parameters := list(module.parameters(recurse=False)))
        and not any(parameter.requires_grad for parameter in parameters)
    ]


class _LayerTracer(fx.Tracer):
    """Traces a network without tracing into layers that draw random numbers or loop over steps."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, LEAVES) or _is_random(m) or super().is_leaf_module(m, module_qualified_name)


def _trace(network: nn.Module) -> fx.Graph:
    """Return the graph of the network. It is the same in training and evaluation, except for the modes of layers."""
    modes = {module: module.training for module in network.modules()}
    try:
        trained = _LayerTracer().trace(network)
        network.eval()
        evaluated = _LayerTracer().trace(network)
    except Exception as error:  # torch.fx raises errors of many kinds for code that it cannot trace
        raise CannotSplit(f"the layers of the network cannot be listed: {error}") from error
    finally:
        for module, mode in modes.items():
            module.training = mode
    if _describe_nodes(trained) != _describe_nodes(evaluated):
        raise CannotSplit(
            "the network skips layers or draws random numbers in training; set its options for drop rates to 0"
        )
    return trained


def _describe_nodes(graph: fx.Graph) -> list[str]:
    return [f"{node.name} {node.op} {node.target} {node.args} {node.kwargs}" for node in graph.nodes]


def _uses_random_numbers(module: nn.Module) -> bool:
    """Return whether a layer draws random numbers in training."""
    return _is_random(module) and getattr(module, "p", None) != 0


def _is_random(module: nn.Module) -> bool:
    return isinstance(module, RANDOM_MODULES) or type(module).__name__ in RANDOM_BY_NAME


def _find_fixed_nodes(network: nn.Module, graph: fx.Graph, frozen: frozenset[str]) -> set[fx.Node]:
    """Return the nodes whose values for a sample never change."""
    fixed = set[fx.Node]()
    for node in graph.nodes:
        if node.op == "output" or not all(parent in fixed for parent in node.all_input_nodes):
            continue
        if _is_node_frozen(network, node, frozen):
            fixed.add(node)
    return fixed


def _is_node_frozen(network: nn.Module, node: fx.Node, frozen: frozenset[str]) -> bool:
    if node.op == "get_attr":
        return str(node.target) in frozen or not isinstance(_get_attribute(network, str(node.target)), nn.Parameter)
    if node.op != "call_module":
        return True
    module = network.get_submodule(str(node.target))
    names = (f"{node.target}.{name}" for name, _ in module.named_parameters())
    return not any(map(_uses_random_numbers, module.modules())) and all(name in frozen for name in names)


def _get_attribute(network: nn.Module, path: str) -> Any:  # noqa: ANN401 - a parameter, a buffer or a constant
    owner, _, name = path.rpartition(".")
    return getattr(network.get_submodule(owner), name)


def _find_cut(graph: fx.Graph, fixed: set[fx.Node]) -> fx.Node:
    """Return the only fixed node, except for parameters and buffers, whose value the head reads.

    Raises:
        CannotSplit: the head reads several values, or the inputs of the network.
    """
    read: list[fx.Node] = [node for node in graph.nodes if node in fixed and _is_used_by_others(node, fixed)]
    cuts = [node for node in read if node.op != "get_attr"]
    if len(cuts) != 1:
        names = ", ".join(node.name for node in cuts[:5])
        raise CannotSplit(f"the trained layers read {len(cuts)} outputs of frozen layers: {names}")
    if cuts[0].op == "placeholder":
        raise CannotSplit("the first layer is trained or draws random numbers; freeze all layers before the last one")
    return cuts[0]


def _is_used_by_others(node: fx.Node, fixed: set[fx.Node]) -> bool:
    return any(user not in fixed for user in node.users)


def _check_layers(network: nn.Module, graph: fx.Graph, fixed: set[fx.Node]) -> None:
    """Check that no batch norm of the body updates its statistics, and that no random layer precedes frozen layers.

    Raises:
        CannotSplit: a check failed.
    """
    for node in graph.nodes:
        if node.op != "call_module":
            continue
        module = network.get_submodule(str(node.target))
        if node in fixed and _updates_statistics(module):
            raise CannotSplit(f"the batch norm {node.target!r} updates its statistics; freeze it with freeze_bn_stats")
        if node not in fixed and _uses_random_numbers(module) and _precedes_frozen_layer(network, node):
            raise CannotSplit(f"the layer {node.target!r} before frozen layers draws random numbers; set its rate to 0")


def _updates_statistics(module: nn.Module) -> bool:
    """Return whether a layer has a norm whose outputs depend on other samples or on earlier batches."""
    norms = (each for each in module.modules() if isinstance(each, NORMS))
    return any(
        norm.training if norm.running_mean is not None else isinstance(norm, nn.modules.batchnorm._BatchNorm)
        for norm in norms
    )


def _precedes_frozen_layer(network: nn.Module, start: fx.Node) -> bool:
    """Return whether a layer after `start` has parameters, and all of them are frozen."""
    pending, seen = list(start.users), set[fx.Node]()
    while pending:
        node = pending.pop()
        if node in seen:
            continue
        seen.add(node)
        pending.extend(node.users)
        if _has_parameters(network, node):
            parameters = network.get_submodule(str(node.target)).parameters()
            if not any(parameter.requires_grad for parameter in parameters):
                return True
    return False


def _has_parameters(network: nn.Module, node: fx.Node) -> bool:
    return node.op == "call_module" and any(True for _ in network.get_submodule(str(node.target)).parameters())


def _list_ancestors(cut: fx.Node) -> Iterable[fx.Node]:
    """Return the node and all nodes that its value depends on, in no particular order."""
    pending, seen = [cut], {cut}
    while pending:
        new = [parent for parent in pending.pop().all_input_nodes if parent not in seen]
        seen.update(new)
        pending.extend(new)
    return seen


def _build_body(network: nn.Module, graph: fx.Graph, cut: fx.Node) -> fx.GraphModule:
    body, copies, needed = fx.Graph(), dict[fx.Node, fx.Node](), set(_list_ancestors(cut))
    for node in graph.nodes:
        if node in needed:
            copies[node] = body.node_copy(node, copies.__getitem__)
    body.output(copies[cut])
    body.lint()
    return fx.GraphModule(network, body)
