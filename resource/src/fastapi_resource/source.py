"""Edit Python modules by their syntax trees; comments and formatting elsewhere stay."""

import ast
import tokenize
from collections.abc import Collection
from io import BytesIO
from itertools import accumulate

ImportStatement = ast.Import | ast.ImportFrom
Container = ast.Tuple | ast.List | ast.Set


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
        self._changes[self._span(node)] = new.encode()

    def delete(self, node: ast.expr | ast.stmt) -> None:
        """Delete the lines of a node, with its decorators."""
        lines = [node.lineno, *(one.lineno for one in getattr(node, "decorator_list", []))]
        end = self._starts[node.end_lineno or node.lineno]
        self._changes[self._starts[min(lines) - 1], end] = b""

    def delete_elements(self, container: Container, unwanted: Collection[ast.expr]) -> None:
        """Delete elements of a tuple, list or set.

        Raises:
            ValueError: this would delete a comment on a line that also has other elements.
        """
        if unwanted:
            container.elts = [element for element in container.elts if element not in unwanted]
            self._replace_parts(container, unwanted)

    def delete_aliases(self, statement: ImportStatement, unwanted: Collection[ast.alias]) -> None:
        """Delete names of an import, or the whole import if none is left.

        Raises:
            ValueError: this would delete a comment on a line that also has other names.
        """
        statement.names = [alias for alias in statement.names if alias not in unwanted]
        if statement.names:
            self._replace_parts(statement, unwanted)
        else:
            self.delete(statement)

    def _replace_parts(
        self, node: Container | ImportStatement, deleted: Collection[ast.expr | ast.alias]
    ) -> None:
        """Replace the source of a node, from which parts have been deleted.

        Without the lines of these parts, the source keeps its comments and its format. Where they
        share a line or a comma with others, the source is written again.
        """
        start, end = self._span(node)
        lines = self._content[start:end].splitlines(keepends=True)
        for part in deleted:
            first, last = part.lineno - node.lineno, (part.end_lineno or 0) - node.lineno
            lines[first : last + 1] = [b""] * (last + 1 - first)
        shorter = b"".join(lines).decode()
        if not _is_source(shorter, node):
            for token in tokenize.tokenize(BytesIO(self._content[start:end]).readline):
                if token.type == tokenize.COMMENT:
                    line = node.lineno + token.start[0] - 1
                    raise ValueError(f"would delete the comment in line {line}")
            shorter = ast.unparse(node)
        self.replace(node, shorter)

    def _span(self, node: ast.expr | ast.stmt) -> tuple[int, int]:
        """Return where the source of a node starts and ends."""
        end_line, end_column = node.end_lineno or node.lineno, node.end_col_offset or 0
        start = self._starts[node.lineno - 1] + node.col_offset
        return start, self._starts[end_line - 1] + end_column

    def text(self) -> str:
        """Return the text with the changes; a change within another one is ignored."""
        parts, position = [], 0
        for (start, end), new in sorted(self._changes.items()):
            if start >= position:
                parts += [self._content[position:start], new]
                position = end
        return b"".join([*parts, self._content[position:]]).decode()


def _is_source(text: str, node: Container | ImportStatement) -> bool:
    """Return whether a text is the source of this expression or import alone."""
    try:
        body = ast.parse(text).body
    except SyntaxError:
        return False
    found = [one.value if isinstance(one, ast.Expr) else one for one in body]
    return [ast.dump(one) for one in found] == [ast.dump(node)]


def uses(node: ast.AST, names: Collection[str]) -> bool:
    """Return whether a node uses one of these names."""
    return any(isinstance(one, ast.Name) and one.id in names for one in ast.walk(node))
