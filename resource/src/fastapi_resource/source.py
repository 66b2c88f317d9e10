"""Edit Python modules by their syntax trees; comments and formatting elsewhere stay."""

import ast
from collections.abc import Collection
from itertools import accumulate


class Edits:
    """Changes of a module's text, at nodes of its tree.

    Args:
        text: of the module.

    Attributes:
        tree: the tree of the text before the changes.
    """

    def __init__(self, text: str) -> None:
        """Parse the text."""
        self.tree = ast.parse(text)
        self._content = text.encode()  # positions in a tree count bytes
        self._starts = [0, *accumulate(map(len, self._content.splitlines(keepends=True)))]
        self._changes: dict[tuple[int, int], bytes] = {}

    def insert(self, line: int, column: int, new: str) -> None:
        """Insert text at a position of the tree."""
        position = self._starts[line - 1] + column
        self._changes[position, position] = new.encode()

    def replace(self, node: ast.expr | ast.stmt, new: str) -> None:
        """Replace the source of a node."""
        end_line, end_column = node.end_lineno or node.lineno, node.end_col_offset or 0
        start = self._starts[node.lineno - 1] + node.col_offset
        self._changes[start, self._starts[end_line - 1] + end_column] = new.encode()

    def delete(self, node: ast.expr | ast.stmt) -> None:
        """Delete the lines of a node, with its decorators."""
        lines = [node.lineno, *(one.lineno for one in getattr(node, "decorator_list", []))]
        end = self._starts[node.end_lineno or node.lineno]
        self._changes[self._starts[min(lines) - 1], end] = b""

    def delete_elements(
        self, container: ast.Tuple | ast.List | ast.Set, unwanted: Collection[ast.expr]
    ) -> None:
        """Delete elements of a tuple, list or set: their lines if these hold nothing else."""
        kept = [element for element in container.elts if element not in unwanted]
        shared = {line for node in (container, *kept) for line in (node.lineno, node.end_lineno)}
        is_single = isinstance(container, ast.Tuple) and len(kept) == 1
        if is_single or shared & {
            line for node in unwanted for line in (node.lineno, node.end_lineno)
        }:
            container.elts = kept
            self.replace(container, ast.unparse(container))
        else:
            for element in unwanted:
                self.delete(element)

    def text(self) -> str:
        """Return the text with the changes; a change within another one is ignored."""
        parts, position = [], 0
        for (start, end), new in sorted(self._changes.items()):
            if start >= position:
                parts += [self._content[position:start], new]
                position = end
        return b"".join([*parts, self._content[position:]]).decode()


def uses(node: ast.AST, names: Collection[str]) -> bool:
    """Return whether a node uses one of these names."""
    return any(isinstance(one, ast.Name) and one.id in names for one in ast.walk(node))
