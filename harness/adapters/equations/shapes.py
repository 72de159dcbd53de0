"""Which shapes the parameters have: from the products in which they stand, at D inputs and H units.

What is not said is H wide: `x @ W + b` asks for W (D, H) and b (H,), and i, f, g, o = split(x @ W + b, 4) for W (D, 4H) and b (4H,).
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, field

from bptt.harness.adapters.equations.read import INPUT, Equations
from bptt.harness.errors import UsageError

Shape = tuple[int, ...]


def shapes(said: Equations, D: int, H: int) -> dict[str, Shape]:
    """Of every parameter.   Raises UsageError where one would have two shapes, or a product has no rows of inputs or states in it."""
    asked = _Asked(said, H, {INPUT: D, **dict.fromkeys(said.states, H)})
    for line in said.lines:
        parts = len(line.names)
        value = line.value.args[0] if parts > 1 and isinstance(line.value, ast.Call) else line.value
        asked.where = f"{said.where}:{line.line}"
        asked.of(value, H * parts)
        asked.widths |= {name: H for name in line.names if name not in said.states}
    return {name: asked.found[name] for name in said.params}


@dataclass
class _Asked:
    said: Equations
    H: int
    widths: dict[str, int]
    found: dict[str, Shape] = field(default_factory=dict)
    where: str = ""

    def of(self, value: ast.expr, width: int) -> int:
        """Walk through an expression that is to be `width` wide; how wide it is."""
        if isinstance(value, ast.Name):
            if value.id in self.widths:
                return self.widths[value.id]
            self.bind(value.id, (width,))
            return width
        if isinstance(value, ast.BinOp) and isinstance(value.op, ast.MatMult):
            return self.product(value, width)
        if isinstance(value, ast.BinOp):
            return max(self.of(value.left, width), self.of(value.right, width))
        if isinstance(value, ast.UnaryOp):
            return self.of(value.operand, width)
        if isinstance(value, ast.Call):
            name = value.func.id if isinstance(value.func, ast.Name) else ""
            widths = [self.of(each, self.H if name in ("concat", "sum", "mean") else width) for each in value.args]
            return sum(widths) if name == "concat" else 1 if name in ("sum", "mean") else widths[0]
        if isinstance(value, ast.Attribute):
            raise UsageError(f"{self.where}: {ast.unparse(value)!r} stands in no product, wanted x @ W.T")
        return 1  # a number

    def product(self, value: ast.BinOp, width: int) -> int:
        """rows @ P: P is (inner, width);   P @ rows: (width, inner)."""
        (left, left_turned), (right, right_turned) = (_turned(side) for side in (value.left, value.right))
        if (name := self.parameter(right)) is not None and self.parameter(left) is None:
            inner = self.of(left, self.H)
            self.bind(name, (width, inner) if right_turned else (inner, width))
        elif (name := self.parameter(left)) is not None and self.parameter(right) is None:
            inner = self.of(right, self.H)
            self.bind(name, (inner, width) if left_turned else (width, inner))
        else:
            wanted = "one side a parameter and the other made of the input and states; entry by entry it is *"
            raise UsageError(f"{self.where}: {ast.unparse(value)!r} is no product of a parameter with rows, wanted {wanted}")
        return width

    def parameter(self, value: ast.expr) -> str | None:
        return value.id if isinstance(value, ast.Name) and value.id in self.said.params else None

    def bind(self, name: str, shape: Shape) -> None:
        if self.found.setdefault(name, shape) != shape:
            raise UsageError(f"{self.where}: {name} would be {shape} here and {self.found[name]} elsewhere")


def _turned(value: ast.expr) -> tuple[ast.expr, bool]:
    turned = isinstance(value, ast.Attribute)
    return (value.value, True) if turned and isinstance(value, ast.Attribute) else (value, False)
