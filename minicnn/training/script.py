"""The text of a script, and what can be asked about it."""

import ast
from collections.abc import Iterator

__all__ = ["Script", "name_of"]

Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Module


def name_of(node: ast.AST | None) -> str:
    """The last part of a name: "softmax" of F.softmax, x.softmax and F.softmax(x)."""
    if isinstance(node, ast.Call):
        return name_of(node.func)
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


class Script:
    """A parsed script, and the questions that rules ask about it."""

    def __init__(self, tree: ast.Module) -> None:
        self.tree, self.nodes = tree, list(ast.walk(tree))
        self.parent = {child: node for node in self.nodes for child in ast.iter_child_nodes(node)}
        self.calls = [node for node in self.nodes if isinstance(node, ast.Call)]
        self.assignments = sorted((node for node in self.nodes if isinstance(node, ast.Assign)), key=lambda n: n.lineno)

    def above(self, node: ast.AST) -> Iterator[ast.AST]:
        """The nodes that a node is in, the innermost first."""
        while node in self.parent:
            node = self.parent[node]
            yield node

    def called_in(self, node: ast.AST) -> set[str]:
        """The last parts of the names of what is called in a node."""
        return {name_of(call.func) for call in ast.walk(node) if isinstance(call, ast.Call)}

    def function_of(self, node: ast.AST) -> Function:
        """The function that a node is in, or the script."""
        return next(up for up in self.above(node) if isinstance(up, Function))

    def in_method(self, node: ast.AST) -> bool:
        """Whether a node is in a method, which has a self to ask."""
        home = self.function_of(node)
        return not isinstance(home, ast.Module) and [a.arg for a in home.args.args[:1]] == ["self"]

    def is_repeated(self, home: Function) -> bool:
        """Whether a function is called in a loop."""
        return not isinstance(home, ast.Module) and any(
            name_of(call.func) == home.name and any(isinstance(up, (ast.For, ast.While)) for up in self.above(call))
            for call in self.calls)

    def run_by(self, scope: ast.AST) -> list[ast.AST]:
        """The nodes that run with this one: its own, and those of the script's functions that it names."""
        functions: dict[str, list[ast.AST]] = {}
        for node in self.nodes:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                functions.setdefault(node.name, []).extend(node.body)
        found: list[ast.AST] = []
        waiting = [scope]
        while waiting:
            node = waiting.pop()
            found.append(node)
            waiting += [child for child in ast.iter_child_nodes(node) if not isinstance(child, Function)]
            if isinstance(node, ast.Name | ast.Attribute):
                waiting += functions.pop(name_of(node), [])
        return found

    def mentions(self, *names: str) -> bool:
        """Whether one of the names stands anywhere."""
        return any(name_of(node) in names for node in self.nodes if isinstance(node, (ast.Name, ast.Attribute))) or any(
            alias.name in names for node in self.nodes if isinstance(node, ast.ImportFrom) for alias in node.names)

    def fits(self) -> bool:
        """Whether it calls minicnn's fit, which has cross entropy within."""
        imports = [ast.unparse(node) for node in self.nodes if isinstance(node, (ast.Import, ast.ImportFrom))]
        ours = any("minicnn" in text for text in imports)
        return ours and any(ast.unparse(call.func) in ("fit", "training.fit") for call in self.calls)

    def value(self, node: ast.expr) -> ast.expr:
        """What a name was last given before this place, in the same function; any other expression is its own value."""
        if not isinstance(node, (ast.Name, ast.Attribute)):
            return node
        text, home = ast.unparse(node), self.function_of(node)
        given: list[ast.expr] = [node]
        for other in self.assignments:
            if other.lineno >= node.lineno or self.function_of(other) is not home:
                continue
            for target in other.targets:
                names = target.elts if isinstance(target, ast.Tuple) else [target]
                if text in map(ast.unparse, names):
                    given.append(other.value)
        return given[-1]

    def instances(self, *classes: str) -> set[str]:
        """The names, such as criterion or self.loss, that are given an object of one of these classes."""
        return {ast.unparse(target) for node in self.nodes if isinstance(node, ast.Assign)
                and isinstance(node.value, ast.Call) and name_of(node.value.func) in classes for target in node.targets}

    def calls_of(self, functions: tuple[str, ...], classes: tuple[str, ...]) -> list[ast.Call]:
        """The calls of functions by these names, and of objects of these classes."""
        objects = self.instances(*classes)
        return [call for call in self.calls if name_of(call.func) in functions or ast.unparse(call.func) in objects
                or isinstance(call.func, ast.Call) and name_of(call.func.func) in classes]
