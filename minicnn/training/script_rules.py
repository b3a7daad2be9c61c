"""Mistakes of training scripts that can be read off their text; those of PyTorch's and Keras's are the same.

A rule is a function from a Script to findings. It says nothing where it is not sure: no script that is right may be
accused. What only shows when a script runs is in preflight.py.
"""

import ast
from collections.abc import Iterator

from .preflight import Finding, softmax_before_loss
from .script import Script, name_of

__all__ = ["lint"]

DROPOUTS = ("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout")
SQUASHES = ("softmax", "sigmoid")
RESULTS = {"argmax", "max", "topk"}
SCALES = ("ToTensor", "ToFloat", "Normalize", "RawPixels", "Rescaling", "StandardScaler", "MinMaxScaler", "normalize")
MAKERS = ("rand", "randn", "zeros", "ones", "empty")
OF_LOSS = ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "MSELoss", "L1Loss", "SmoothL1Loss", "HuberLoss")


def lint(source: str, filename: str = "<script>") -> list[Finding]:
    """The mistakes in the text of a script, by line."""
    try:
        tree = ast.parse(source, filename)
    except SyntaxError as error:
        return [Finding("syntax", f"Python cannot read it: {error.msg}", "mend that first (was indentation lost in "
                        "copying?)", error.lineno)]
    script = Script(tree)
    found = dict.fromkeys(finding for rule in RULES for finding in rule(script))
    return sorted(found, key=lambda finding: finding.line or 0)


# -- one function for each rule -------------------------------------------------------------------------------------

def _softmax(script: Script) -> Iterator[Finding]:
    losses = script.calls_of(("cross_entropy",), ("CrossEntropyLoss",))
    if not losses and not script.instances("CrossEntropyLoss") and not script.fits():
        return
    for call in losses:
        if call.args:
            yield from _squashed(script, script.value(call.args[0]))
    for node in script.nodes:
        if isinstance(node, ast.ClassDef):
            yield from _squashed_result(script, node)
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and (
                name_of(node.value) == "Sequential"):
            yield from _squashed(script, _end(node.value))


def _squashed(script: Script, node: ast.expr) -> Iterator[Finding]:
    """A finding if an expression is a softmax: of a tensor, or a layer at the end of a network."""
    if not isinstance(node, ast.Call):
        return
    name = name_of(node.func)
    layer = isinstance(node.func, ast.Call) and name_of(node.func.func).lower() in SQUASHES  # nn.Softmax(1)(x)
    block = script.parent.get(node)
    last = isinstance(block, ast.Call) and name_of(block.func) == "Sequential"  # nn.Softmax(1) at the end of it
    if name in SQUASHES or layer or name.lower() in SQUASHES and (last or not node.args):
        yield softmax_before_loss(ast.unparse(node), _outputs(block) if isinstance(block, ast.Call) else None,
                                  node.lineno)


def _squashed_result(script: Script, network: ast.ClassDef) -> Iterator[Finding]:
    """What forward returns, followed through names and the attributes of the class."""
    inside = list(ast.walk(network))
    layers = {ast.unparse(target): node.value for node in inside if isinstance(node, ast.Assign)
              for target in node.targets if isinstance(target, ast.Attribute)}
    for node in inside:
        home = script.function_of(node)
        if isinstance(node, ast.Return) and node.value and isinstance(home, ast.FunctionDef) and home.name == "forward":
            result = script.value(node.value)
            layer = layers.get(ast.unparse(result.func)) if isinstance(result, ast.Call) else None
            yield from _squashed(script, result if layer is None else _end(layer))


def _end(node: ast.expr) -> ast.expr:
    """The last layer of nn.Sequential(...), also of one in another."""
    while isinstance(node, ast.Call) and name_of(node.func) == "Sequential" and node.args:
        node = node.args[-1]
    return node


def _outputs(block: ast.Call) -> int | None:
    """How many outputs the last linear layer of an nn.Sequential(...) has, if that is a number."""
    for layer in reversed(block.args):
        if isinstance(layer, ast.Call) and name_of(layer.func) in ("Linear", "LazyLinear"):
            named = [k.value for k in layer.keywords if k.arg == "out_features"]
            size = (*layer.args[1 if name_of(layer.func) == "Linear" else 0:][:1], *named, None)[0]
            return size.value if isinstance(size, ast.Constant) and isinstance(size.value, int) else None
    return None


def _dropout(script: Script) -> Iterator[Finding]:
    for call in script.calls:
        if name_of(call.func) in DROPOUTS and "self" not in ast.unparse(call.func) and script.in_method(call):
            training = next((k.value for k in call.keywords if k.arg == "training"), None)
            training = call.args[2] if training is None and len(call.args) > 2 else training
            always = isinstance(training, ast.Constant) and training.value is True
            if always or training is None and not any(k.arg is None for k in call.keywords):
                yield Finding("dropout-in-test", f"{ast.unparse(call)} drops while testing, too: a function does not "
                              "know the mode of the network", "give training=self.training, or use the layer "
                              "nn.Dropout", call.lineno)


def _eval(script: Script) -> Iterator[Finding]:
    layers = [call for call in script.calls if "Dropout" in name_of(call.func) or "BatchNorm" in name_of(call.func)]
    modes = {name_of(call.func) for call in script.calls}
    if not layers or "backward" not in modes or modes & {"eval", "evaluate", "fit"} or any(
            name_of(c.func) == "train" and c.args and isinstance(c.args[0], ast.Constant) for c in script.calls):
        return
    places: list[ast.stmt | ast.expr] = [*_without_gradient(script), *_after_training(script)]
    for node in places[:1]:
        yield Finding("dropout-in-test", "results are taken here, but the network, which has "
                      f"{name_of(layers[0].func)}, is never put in evaluation mode",
                      "call model.eval() before, and model.train() before training goes on", node.lineno)


def _without_gradient(script: Script) -> Iterator[ast.stmt]:
    """Where no_grad is around results."""
    for node in script.nodes:
        if isinstance(node, (ast.With, ast.FunctionDef)):
            around = [i.context_expr for i in node.items] if isinstance(node, ast.With) else node.decorator_list
            if "no_grad" in map(name_of, around) and RESULTS & script.called_in(node):
                yield node


def _after_training(script: Script) -> Iterator[ast.expr]:
    """Results of a network that a loop above, in the same function, has trained."""
    loops = {node: script.called_in(node) for node in script.nodes if isinstance(node, (ast.For, ast.While))}
    for call in script.calls:
        if name_of(call.func) not in RESULTS:
            continue
        owner = [call.func.value] if isinstance(call.func, ast.Attribute) else []  # torch of torch.max(net(x), 1)
        for output in map(script.value, [*owner, *call.args[:1]]):
            if isinstance(output, ast.Call) and isinstance(output.func, ast.Name) and any(
                    {"backward", output.func.id} <= names and (loop.end_lineno or 0) < output.lineno
                    and script.function_of(loop) is script.function_of(call) for loop, names in loops.items()):
                yield call


def _zero_grad(script: Script) -> Iterator[Finding]:
    for call in script.calls:
        if not isinstance(call.func, ast.Attribute) or call.func.attr != "backward":
            continue
        loops = [up for up in script.above(call) if isinstance(up, (ast.For, ast.While))]
        home = script.function_of(call)
        if not loops and not script.is_repeated(home):
            continue
        scope = loops[-1] if loops else home
        inside = [n for n in script.run_by(scope) if isinstance(n, (ast.Call, ast.Assign)) and n is not call]
        steps = [n for n in inside if isinstance(n, ast.Call) and name_of(n.func) == "step" and not n.args]
        clears = [n for n in inside if _clears(n)]
        if steps and not clears:
            yield Finding("no-zero-grad", "gradients are never set to zero, so each step is made with the sum over all "
                          "batches so far", "call optimizer.zero_grad() before backward()", call.lineno)
        for clear in clears:
            if steps and call.lineno < clear.lineno < min(s.lineno for s in steps) and _same_block(script, call, clear):
                yield Finding("no-zero-grad", "zero_grad() comes between backward() and step(), so there is nothing "
                              "left to step by", "call it before backward()", clear.lineno)


def _clears(node: ast.AST) -> bool:
    """Whether this forgets gradients."""
    if isinstance(node, ast.Call):
        owner = node.func.value if isinstance(node.func, ast.Attribute) else None
        name = name_of(node.func)
        return name == "zero_grad" or name in ("zero_", "fill_") and name_of(owner) == "grad"
    return isinstance(node, ast.Assign) and any(name_of(target) == "grad" for target in node.targets)


def _same_block(script: Script, *nodes: ast.AST) -> bool:
    """Whether all are statements of one block."""
    return len({id(script.parent[script.parent[node]]) for node in nodes}) == 1


def _forward(script: Script) -> Iterator[Finding]:
    modules = [n for n in script.nodes if isinstance(n, ast.ClassDef) and any(name_of(b) == "Module" for b in n.bases)]
    without = [n for n in modules if not any(isinstance(f, ast.FunctionDef) and f.name == "forward" for f in n.body)]
    for node in script.nodes:
        if not isinstance(node, ast.FunctionDef) or node.name != "forward" or not without:
            continue
        home = script.parent[node]
        if isinstance(home, ast.FunctionDef) and home.name == "__init__":
            yield Finding("lost-forward", "forward is defined inside __init__, so the network has none",
                          "indent it as far as __init__ itself", node.lineno)
        elif isinstance(home, ast.Module) and node.args.args and node.args.args[0].arg == "self":
            yield Finding("lost-forward", f"forward is defined outside of {without[-1].name}, which so has none",
                          "indent it into the class", node.lineno)


def _pixels(script: Script) -> Iterator[Finding]:
    if script.mentions(*SCALES) or any(isinstance(n, ast.Constant) and n.value in (255, 256) for n in script.nodes):
        return
    for call in script.calls:
        loads = name_of(call.func) == "load_data" and not call.args
        wraps = name_of(call.func) in ("tensor", "from_numpy", "Tensor") and any(
            isinstance(n, ast.Attribute) and n.attr == "images" for a in call.args for n in ast.walk(a))
        if loads or wraps:
            yield Finding("raw-pixels", f"the pixels of {ast.unparse(call)} are 0 … 255 and nothing scales them; "
                          "networks learn from numbers around 1", "divide by 255, or use transforms.ToFloat() or "
                          "transforms.Normalize(mean, std)", call.lineno)


def _broadcast(script: Script) -> Iterator[Finding]:
    pairs: list[tuple[ast.expr, ast.expr, ast.expr]] = [
        (node, node.left, node.comparators[0] if isinstance(node, ast.Compare) else node.right)
        for node in script.nodes if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.Eq)
        or isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub)]
    losses = tuple(name for name in OF_LOSS if name.islower())
    pairs += [(c, c.args[0], c.args[1]) for c in script.calls_of(losses, OF_LOSS) if len(c.args) > 1]
    for node, *operands in pairs:
        layouts, made = [_layout(script.value(operand)) for operand in operands], [_made(script, o) for o in operands]
        if isinstance(node, ast.Call):
            layouts = [read or known for read, known in zip(layouts, made)]
        elif _is_averaged(script, node):  # else somebody shows what broadcasting does, or wants all pairs
            layouts = layouts if any(layouts) else made
        if set(layouts) == {"row", "column"}:
            yield Finding("broadcast", f"in {ast.unparse(node)} one side is (N,) and the other (N, 1): together they "
                          "are (N, N), every sample with every other", "bring both to one shape, with squeeze(1) or "
                          "unsqueeze(1)", node.lineno)


def _layout(node: ast.expr) -> str:
    """"row" for what is surely (N,), "column" for what is surely (N, 1)."""
    text = ast.unparse(node).replace(" ", "")
    if isinstance(node, ast.Call):
        name = name_of(node.func)
        arguments = [ast.unparse(a) for a in (*node.args, *[k.value for k in node.keywords])]
        if name in ("view", "reshape") and arguments[-2:] == ["-1", "1"] or name == "unsqueeze" and arguments[-1:] in (
                ["1"], ["-1"]):
            return "column"
        keeps = any(k.arg == "keepdim" for k in node.keywords)
        if name in ("view", "reshape") and arguments == ["-1"]:
            return "row"
        if name == "squeeze" and arguments in ([], ["1"], ["-1"]):
            return "row"
        return "row" if name in ("argmax", "max") and arguments and arguments[-1] in ("1", "-1") and not keeps else ""
    return "column" if isinstance(node, ast.Subscript) and text.endswith("[:,None]") else ""


def _is_averaged(script: Script, node: ast.expr) -> bool:
    """Whether the mean of the squares of a difference is taken, which is a loss."""
    square, mean = (*script.above(node),)[:2]
    return isinstance(square, ast.BinOp) and isinstance(square.op, ast.Pow) and name_of(mean) == "mean"


def _made(script: Script, node: ast.expr) -> str:
    """As _layout, of a tensor of literal size such as randn(8, 1), or what nn.Sequential(..., Linear(4, 1)) gives."""
    made = script.value(node)
    if not isinstance(made, ast.Call):
        return ""
    if name_of(made.func) in MAKERS:
        sizes = [getattr(script.value(size), "value", None) for size in made.args]
        if all(isinstance(size, int) and size > 1 for size in sizes[:1]):
            return "row" if len(sizes) == 1 else "column" if sizes[1:] == [1] else ""
    last = _end(script.value(made.func))
    if isinstance(last, ast.Call) and name_of(last) == "Linear":
        return "column" if [getattr(size, "value", None) for size in last.args[1:2]] == [1] else ""
    return ""


def _saves(script: Script) -> Iterator[Finding]:
    saved: dict[str, ast.Call] = {}
    for call in sorted(script.calls, key=lambda call: call.lineno):
        if name_of(call.func) == "save" and len(call.args) > 1 and isinstance(call.args[1], ast.Constant):
            path = str(call.args[1].value)
            before = saved.setdefault(path, call)
            if ast.unparse(before.args[0]) != ast.unparse(call.args[0]):
                yield Finding("overwritten", f"this writes {ast.unparse(call.args[0])} over "
                              f"{ast.unparse(before.args[0])}, which line {before.lineno} put into {path!r}",
                              "give each a file of its own", call.lineno)


def _single(script: Script) -> Iterator[Finding]:
    if not any("BatchNorm" in name_of(call.func) for call in script.calls):
        return
    for call in script.calls:
        options = {k.arg: k.value for k in call.keywords}
        size = options.get("batch_size", call.args[1] if len(call.args) > 1 else None)
        shuffle = options.get("shuffle")
        shuffles = isinstance(shuffle, ast.Constant) and shuffle.value is True
        if name_of(call.func) == "DataLoader" and shuffles and isinstance(size, ast.Constant) and size.value == 1:
            yield Finding("last-batch-of-one", "batch norm is trained with batches of one image, whose mean and "
                          "variance say nothing (and after a linear layer it raises)", "use larger batches, or "
                          "nn.GroupNorm", call.lineno)


RULES = (_softmax, _dropout, _eval, _zero_grad, _forward, _pixels, _broadcast, _saves, _single)
