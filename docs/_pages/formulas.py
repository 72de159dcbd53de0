"""Formulas as MathML: LaTeX between dollar signs in a page, and the equations of a reference cell's docstring."""

from __future__ import annotations

import re

from latex2mathml.converter import convert

FUNCTIONS = {name: rf"\{name}" for name in ("tanh", "exp", "log", "max", "cos", "sin")}
FUNCTIONS |= {"sigmoid": r"\sigma", "Re": r"\operatorname{Re}"}
GREEK = {"alpha", "beta", "gamma", "delta", "kappa", "lambda", "Lambda", "mu", "nu", "omega", "phi", "sigma", "theta"}
SIGNS = {"@": r"\,", "*": r"\odot ", "<=": r"\le ", ">=": r"\ge ", "...": r"\dots ", "%": r"\% "}
#: Words of a sentence, where a formula has a name of several letters.
WORDS = frozenset("and at blocks else each for is not of or over sum the where with mean all its between without".split())  # noqa: SIM905 - a sentence reads better
RUN = re.compile(r"\b[A-Za-z]{2,}(?:\s+[A-Za-z]{2,})+\b(?![_(])")
TOKEN = re.compile(r"\.\.\.|<=|>=|\\text\{[^}]*\}|[A-Za-z]+~?(?:_(?:\{[^}]*\}|[A-Za-z0-9]+))?'*|\d+(?:\.\d+)?(?:e-?\d+)?|\*\*|\s+|.")
FENCE = re.compile(r"(```.*?```|`[^`\n]*`)", re.S)
#: A note behind an equation stands a few spaces away and begins with one of these.
NOTE = re.compile(r"\s{2,}(?=(?:with|for|where|blocks)\b)|\s{3,}(?!=\s)")


def in_page(markdown: str) -> str:
    """The text with `$...$` and `$$...$$` as MathML; code is left as it stands."""
    parts = FENCE.split(markdown)
    for k in range(0, len(parts), 2):
        parts[k] = re.sub(r"\$\$(.+?)\$\$", lambda found: _mathml(found[1], "block"), parts[k], flags=re.S)
        parts[k] = re.sub(r"(?<![\\\w])\$([^$\n]+?)\$", lambda found: _mathml(found[1], "inline"), parts[k])
    return "".join(parts)


def equations(text: str) -> str:
    """The lines under "Equations" of a docstring as HTML: an equation a row, with what is said beside it."""
    rows = []
    for line in text.splitlines():
        pieces = [piece.strip() for piece in NOTE.split(line.strip()) if piece.strip()]
        rows += [f"<p>{_mathml(to_latex(piece), 'block') if _is_equation(piece) else _words(piece)}</p>" for piece in pieces]
    return '<div class="equations">\n' + "\n".join(rows) + "\n</div>"


def to_latex(equation: str) -> str:
    """An equation in the notation of the docstrings as LaTeX: "h' = o * m" is "h' = o \\odot m"."""
    out = []
    tokens = TOKEN.findall(RUN.sub(_sentence, equation))
    for k, token in enumerate(tokens):
        if token.isspace():
            out.append(" ")
        elif token.startswith(r"\text"):
            out.append(token)
        elif token == "." and tokens[k - 1 : k] == [" "]:
            out.append(r"\cdot ")
        elif token == "**" or token == "^":
            out.append("^")
        elif token[0].isalpha():
            out.append(_name(token, called=tokens[k + 1 : k + 2] == ["("]))
        elif token in SIGNS:
            out.append(SIGNS[token])
        elif token in "{}%#&":
            out.append("\\" + token)
        else:
            out.append(token)
    return _roots("".join(out)).strip()


def _sentence(run: re.Match[str]) -> str:
    """Words in a row are a sentence where one of them can be nothing else."""
    return rf"\text{{ {run[0]} }}" if WORDS & set(run[0].split()) else run[0]


def _is_equation(piece: str) -> bool:
    left = re.split(r"\s+= ", piece)[0]
    return left != piece and not re.match(r"(with|for|where|blocks|as|how)\b|\(", piece) and len(left.split()) <= 6


def _name(token: str, called: bool) -> str:
    token, primes = token.rstrip("'"), "'" * (len(token) - len(token.rstrip("'")))
    base, _, below = token.partition("_")
    if base.endswith("~"):
        return rf"\tilde{{{_letter(base[:-1])}}}{primes}"
    if below == "bar":
        return rf"\bar{{{_letter(base)}}}{primes}"
    if base in WORDS and not below and not primes:
        return rf"\text{{ {base} }}"
    if base in FUNCTIONS:
        name = FUNCTIONS[base]
    elif called and len(base) > 1:
        name = rf"\operatorname{{{base}}}"
    else:
        name = _letter(base)
    below = below.strip("{}")
    low = f"_{{{below if len(below) == 1 else rf'{_letter(below)}'}}}" if below else ""
    return f"{name}{low}{primes}"


def _letter(name: str) -> str:
    if name in GREEK:
        return f"\\{name} "
    if len(name) == 1 or name.isdigit():
        return name
    return rf"\mathit{{{name}}}"


def _roots(latex: str) -> str:
    r"""sqrt(...) with its own bracket as a root."""
    name = r"\operatorname{sqrt}("
    while name in latex:
        start = latex.index(name)
        depth, end = 1, start + len(name)
        while depth and end < len(latex):
            depth += {"(": 1, ")": -1}.get(latex[end], 0)
            end += 1
        latex = f"{latex[:start]}\\sqrt{{{latex[start + len(name) : end - 1]}}}{latex[end:]}"
    return latex


def _mathml(latex: str, display: str) -> str:
    return convert(latex.strip(), display=display)


def _words(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")
