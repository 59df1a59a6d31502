"""ES modules joined into one script, and their styles into one, without a build step.

A page or a widget gets one text that fetches nothing. `assembled` follows the imports of a module and writes every
module as a function that returns its exports, so that the names of one never meet those of another:

    const module0 = (() => { function laElement() { ... } return { laElement }; })();      // element.js
    const module1 = (() => { const { laElement } = module0; ... return { ... }; })();      // cache_view.js

Modules may use `import { a, b as c } from "./x.js"`, `import x from "./x.js"`, `export function`, `export class`,
`export const` with one name, and `export default` with an expression. Of paths, "./x.js" is relative to the module and
"#liveavatar/web/x.js" is found in the package, as in the field `imports` of package.json. Whatever else begins a line
with `import` or `export` is refused.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

from liveavatar.glossary import TERMS
from liveavatar.web.palette import COLOURS, STEPS, variables

WEB = Path(__file__).resolve().parent
PACKAGE = WEB.parent

IMPORT = re.compile(r'^import (?:(\w+)|\{([^}]*)\}) from "([^"]+)";$', re.MULTILINE)
EXPORT = re.compile(r"^export (?=(?:async )?(?:function\*?|class) (\w+)|const (\w+) =)", re.MULTILINE)
DEFAULT = re.compile(r"^export default (?!function|class|async)", re.MULTILINE)
LEFT = re.compile(r"^(?:import|export)\b.*|\bimport\(", re.MULTILINE)


class AssemblyError(ValueError):
    """A module that cannot be joined with others."""


@dataclass
class Assembly:
    """The modules read so far, in the order in which they must run."""

    texts: dict[Path, str] = field(default_factory=dict)            # what stands in the place of a file
    numbers: dict[Path, int] = field(default_factory=dict)
    exports: dict[Path, set[str]] = field(default_factory=dict)
    code: list[str] = field(default_factory=list)
    path: list[Path] = field(default_factory=list)                  # from the entry to what is being read

    def add(self, module: Path) -> None:
        """Read a module and, before it, those that it imports. Raises AssemblyError."""
        if module in self.numbers:
            return
        if module in self.path:
            chain = " -> ".join(one.name for one in [*self.path[self.path.index(module):], module])
            raise AssemblyError(f"{chain}: modules must not import each other in a circle")
        self.path.append(module)
        try:
            text = self.texts.get(module) or module.read_text(encoding="utf-8")
        except OSError as problem:
            importer = self.path[-2].name if len(self.path) > 1 else "the page"
            raise AssemblyError(f"{importer} imports {module.name}, which cannot be read: {problem}") from None
        text = IMPORT.sub(lambda found: self._imported(module, *found.groups()), text)
        names = {function or const for function, const in EXPORT.findall(text)}
        text, defaults = DEFAULT.subn("const defaultExport = ", EXPORT.sub("", text))
        if left := LEFT.search(text):
            line = text.count("\n", 0, left.start()) + 1
            raise AssemblyError(f"{module.name}, line {line}: {left.group()!r} cannot be joined; see "
                                "liveavatar/web/assembly.py for the forms of import and export that can")
        returned = sorted(names) + ["default: defaultExport"] * defaults
        number = self.numbers[module] = len(self.numbers)
        self.exports[module] = names | ({"default"} if defaults else set())
        self.code.append(f"const module{number} = (() => {{      // {module.name}\n{text.rstrip()}\n"
                         f"return {{ {', '.join(returned)} }};\n}})();")
        self.path.pop()

    def _imported(self, module: Path, default: str, names: str, target: str) -> str:
        """Return the line that stands in the place of an import, as many lines long."""
        other = resolved(module, target)
        self.add(other)
        if default:
            asked = [("default", default)]
        else:
            asked = [(first, second or first) for first, second in
                     re.findall(r"(\w+)(?: as (\w+))?\s*(?:,|$)", names)]
        missing = [name for name, _ in asked if name not in self.exports[other]]
        if missing:
            raise AssemblyError(f"{module.name} imports {', '.join(missing)} from {other.name}, where it is missing")
        parts = ", ".join(first if first == second else f"{first}: {second}" for first, second in asked)
        return f"const {{ {parts} }} = module{self.numbers[other]};" + "\n" * (names or "").count("\n")


def resolved(module: Path, target: str) -> Path:
    """Return the file of an import. Raises AssemblyError for an address or a package."""
    if target.startswith(("./", "../")):
        return (module.parent / target).resolve()
    if target.startswith("#liveavatar/"):
        return PACKAGE / target.removeprefix("#liveavatar/")
    raise AssemblyError(f"{module.name} imports {target!r}: nothing is fetched, so a path begins with './' (beside the "
                        "module) or '#liveavatar/' (in the package)")


def from_python() -> dict[str, str]:
    """Return the text of the modules whose values Python knows: the glossary and the palette."""
    def constant(name: str, value: object) -> str:
        return f"export const {name} = {json.dumps(value, ensure_ascii=False)};"

    return {"glossary.js": constant("LA_TERMS", TERMS),
            "palette.js": f"{constant('LA_COLOURS', COLOURS)}\n{constant('LA_STEPS', STEPS)}"}


def assembled(entry: Path) -> tuple[str, str]:
    """Return the script and the style of a module and all that it imports.

    The script ends with `export default` where the entry does. The style is the palette, then `x.css` for each `x.js`
    that has one, in the order in which the modules run. Raises AssemblyError for what cannot be joined.
    """
    entry = entry.resolve()
    whole = Assembly({WEB / name: text for name, text in from_python().items()})
    whole.add(entry)
    ending = [f"export default module{whole.numbers[entry]}.default;"] if "default" in whole.exports[entry] else []
    styles = [module.with_suffix(".css") for module in whole.numbers]
    looks = [style.read_text(encoding="utf-8") for style in styles if style.is_file()]
    return "\n".join([*whole.code, *ending]), "\n".join([variables(), *looks])
