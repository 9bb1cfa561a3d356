"""What can be counted about the house: where code asks what kind of model, configuration, result or option it has.

``python tests/helpers/house.py src/internimage`` prints each such place and the numbers of docs/architecture.md.
"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

# files that may ask: the networks themselves, and each task, be it in a wing
_WINGS = r"driving/(sequences|boxes3d|occupancy|topology|online_map)/|multimodal/(describing|pretraining|generalist)/"
ASKED_IN = re.compile(rf"((driving|multimodal)/)?models/|backbones/|tasks/\w+/|{_WINGS}")
KINDS_OF = re.compile(rf"((driving|multimodal)/)?(models|results)/|backbones/|tasks/|{_WINGS}")
NAMES_OF = re.compile(r"\w*(Config|Augmentation|Preprocessing|Options|Window)$")
TASKS = {"classification", "detection", "segmentation", "boxes3d", "occupancy", "topology", "online_map"}
TASKS |= {"describing", "pretraining", "generalist"}
ARCHITECTURES = {
    "image_classifier",
    "mask_rcnn",
    "cascade_rcnn",
    "dino",
    "mask_dino",
    "upernet",
    "segformer",
    "mask2former",
    "bevformer",
    "uniperceiver",
    "m3i",
}


def trees(source: Path) -> dict[str, ast.Module]:
    files = sorted(source.rglob("*.py"))
    return {str(file.relative_to(source)): ast.parse(file.read_text(encoding="utf-8")) for file in files}


def kind_tests(source: Path) -> list[str]:
    """``file:line code`` of each place outside models, backbones and tasks that tests a kind, in whatever form."""
    parsed = trees(source)
    kinds = {
        node.name
        for file, tree in parsed.items()
        for node in tree.body
        if isinstance(node, ast.ClassDef) and (KINDS_OF.match(file) or NAMES_OF.match(node.name))
    }
    kinds |= {
        node.target.id
        for file, tree in parsed.items()
        for node in tree.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and "TypeAlias" in ast.dump(node)
        if node.value is not None and mentioned(node.value) & kinds
    }
    return [
        f"{file}:{node.lineno} {ast.unparse(node)[:100]}"
        for file, tree in parsed.items()
        if not ASKED_IN.match(file)
        for node in tests_in(tree, kinds)
    ]


def tests_in(tree: ast.Module, kinds: set[str]) -> Iterator[ast.expr]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            of_kind = node.func.id in ("isinstance", "issubclass") and mentioned(node.args[1]) & kinds
            has_it = node.func.id == "hasattr" or (node.func.id == "getattr" and len(node.args) == 3)
            if of_kind or has_it:
                yield node
        elif isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            texts = {text for side in sides for text in strings(side)}
            asks_type = any(isinstance(side, ast.Call) and ast.unparse(side.func) == "type" for side in sides)
            if texts & (TASKS | ARCHITECTURES) or (asks_type and set().union(*map(mentioned, sides)) & kinds):
                yield node
        elif isinstance(node, ast.Dict):
            if any(isinstance(key, ast.Name) and key.id in kinds for key in node.keys):
                yield node
        elif isinstance(node, ast.match_case) and mentioned(node.pattern) & kinds:
            yield ast.Constant(value="match", lineno=node.body[0].lineno)


def mentioned(node: ast.AST) -> set[str]:
    names = {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}
    return names | {one.attr for one in ast.walk(node) if isinstance(one, ast.Attribute)}


def strings(node: ast.AST) -> set[str]:
    """Texts that are compared: a literal, or members of a literal tuple, set or list."""
    members = node.elts if isinstance(node, ast.Tuple | ast.Set | ast.List) else [node]
    return {one.value for one in members if isinstance(one, ast.Constant) and isinstance(one.value, str)}


def functions(source: Path) -> Iterator[tuple[int, str]]:
    """Lines of each function, and where it is."""
    for file, tree in trees(source).items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                documented = ast.get_docstring(node) is not None
                first = node.body[min(documented, len(node.body) - 1)].lineno
                yield (node.end_lineno or first) - first + 1, f"{file}:{node.name}"


def sizes(source: Path) -> Iterator[tuple[int, str]]:
    """Lines of each file."""
    for file in sorted(source.rglob("*.py")):
        yield len(file.read_text(encoding="utf-8").splitlines()), str(file.relative_to(source))


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    found = kind_tests(folder)
    print(*found, sep="\n")
    print(f"{len(found)} tests of a kind in {len({one.split(':')[0] for one in found})} files")
    print("longest files:", *sorted(sizes(folder), reverse=True)[:5])
    print("longest functions, without docstrings:", *sorted(functions(folder), reverse=True)[:5])
    print("lines of Python:", sum(length for length, _ in sizes(folder)))
