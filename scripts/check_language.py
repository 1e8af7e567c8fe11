#!/usr/bin/env python3
"""Check the language of the repository against `scripts/word_list.toml`.

    python scripts/check_language.py                    print every finding, exit 1 if there is one
    python scripts/check_language.py docs protocols     the same, for these folders or files only
    python scripts/check_language.py --count            print the number of findings per top folder

Two kinds of rules. A `text` rule is applied to prose: comments, docstrings and string literals that contain a space (Python), comments
(YAML, TOML, shell, Makefile), everything outside code (Markdown). An `identifier` rule is applied to names: Python names, string literals
without a space, YAML keys, file names, and code in Markdown. Phrases may continue on the next line. Standard library only.
"""

from __future__ import annotations

import argparse
import io
import re
import subprocess
import sys
import tokenize
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
WORD_LIST = ROOT / "scripts" / "word_list.toml"
SUFFIXES = {".py": "python", ".md": "markdown", ".yaml": "settings", ".yml": "settings", ".toml": "settings", ".sh": "settings"}
NAMES = {"Makefile": "settings", "run": "settings"}
BLANK = "\x00"
"""stands for every character that a rule must not see; offsets and lines stay as in the file"""


@dataclass(frozen=True)
class Rule:
    """One entry of the word list."""

    pattern: re.Pattern[str]
    instead: str
    identifier: bool
    allowed: tuple[re.Pattern[str], ...]
    excluded: tuple[str, ...]


@dataclass(frozen=True)
class Finding:
    """One word that must be replaced."""

    path: str
    line: int
    word: str
    instead: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.word!r}: {self.instead}"


@dataclass(frozen=True)
class Masked:
    """A file seen twice: prose only, and names only. Both have the length of the file."""

    prose: str
    names: str


def read_rules(path: Path = WORD_LIST) -> tuple[list[Rule], list[str]]:
    """The rules of a word list and the globs of files that are not checked."""
    content = tomllib.loads(path.read_text(encoding="utf-8"))
    rules = []
    for entry in content["rule"]:
        identifier = entry.get("scope", "text") == "identifier"
        rules.append(
            Rule(
                _compile(entry["pattern"], identifier),
                entry["instead"],
                identifier,
                tuple(re.compile(allowed) for allowed in entry.get("allow", ())),
                tuple(entry.get("exclude", ())),
            )
        )
    return rules, list(content.get("exclude", ()))


def _compile(pattern: str, identifier: bool) -> re.Pattern[str]:
    if identifier:  # a part of a snake_case name counts as a name of its own: `_by_hand`, `liars_count`
        return re.compile(rf"(?<![A-Za-z])(?:{pattern})(?![A-Za-z])")
    spaced = pattern.replace(" ", r"(?:[\s#>\"']+)")
    return re.compile(rf"\b(?:{spaced})\b", re.IGNORECASE)


def check_text(path: str, text: str, rules: Iterable[Rule]) -> Iterator[Finding]:
    """Findings in the text of one file. `path` is relative to the repository and decides how the text is read."""
    masked = _mask(path, text)
    for rule in rules:
        if any(fnmatch(path, glob) for glob in rule.excluded):
            continue
        if rule.identifier and (match := rule.pattern.search(Path(path).stem)):
            yield Finding(path, 1, match.group(), f"{rule.instead} (name of the file)")
        for match in rule.pattern.finditer(masked.names if rule.identifier else masked.prose):
            line = text.count("\n", 0, match.start()) + 1
            begin, end = text.rfind("\n", 0, match.start()) + 1, text.find("\n", match.end())
            around = text[begin : end if end >= 0 else len(text)]
            if not any(allowed.search(around) for allowed in rule.allowed):
                yield Finding(path, line, " ".join(match.group().split()), rule.instead)


def _mask(path: str, text: str) -> Masked:
    kind = SUFFIXES.get(Path(path).suffix) or NAMES.get(Path(path).name)
    if kind == "python":
        return _mask_python(text)
    return _mask_markdown(text) if kind == "markdown" else _mask_settings(text)


class _Mask:
    """A text of blanks into which stretches of the original are copied."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._characters = [character if character.isspace() else BLANK for character in text]

    def show(self, begin: int, end: int) -> None:
        self._characters[begin:end] = self._text[begin:end]

    def __str__(self) -> str:
        return "".join(self._characters)


def _mask_python(text: str) -> Masked:
    prose, names = _Mask(text), _Mask(text)
    starts = [0]
    for line in text.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        begin, end = starts[token.start[0] - 1] + token.start[1], starts[token.end[0] - 1] + token.end[1]
        if token.type == tokenize.COMMENT or token.type == getattr(tokenize, "FSTRING_MIDDLE", -1):
            prose.show(begin, end)
        elif token.type == tokenize.NAME:
            names.show(begin, end)
        elif token.type == tokenize.STRING:
            _show_string(text[begin:end], begin, prose, names)
    return Masked(str(prose), str(names))


def _show_string(literal: str, offset: int, prose: _Mask, names: _Mask) -> None:
    opening = re.match(r"[A-Za-z]*", literal)
    fields = "f" in opening.group().lower() if opening else False
    target = prose if " " in literal else names
    position = 0
    for field in re.finditer(r"\{[^{}]*\}", literal) if fields else ():
        target.show(offset + position, offset + field.start())
        names.show(offset + field.start(), offset + field.end())
        position = field.end()
    target.show(offset + position, offset + len(literal))


def _mask_markdown(text: str) -> Masked:
    prose, names = _Mask(text), _Mask(text)
    position = 0
    code = r"^(?P<fence>`{3,}|~{3,}).*?^(?P=fence)|(?P<tick>`+)(?!`).*?(?<!`)(?P=tick)(?!`)|\]\([^)\s]*\)"
    for match in re.finditer(code, text, re.MULTILINE | re.DOTALL):
        prose.show(position, match.start())
        if match.group().startswith(("`", "~")):
            names.show(*match.span())
        position = match.end()
    prose.show(position, len(text))
    return Masked(str(prose), str(names))


def _mask_settings(text: str) -> Masked:
    prose, names = _Mask(text), _Mask(text)
    position = 0
    for line in text.splitlines(keepends=True):
        comment = re.search(r"(?:^|(?<=\s))#", line)
        begin = comment.start() if comment else len(line)
        prose.show(position + begin, position + len(line))
        names.show(position, position + begin)
        position += len(line)
    return Masked(str(prose), str(names))


def files(paths: list[str], excluded: list[str]) -> Iterator[str]:
    """Files of the repository that are checked, tracked or new, relative to its root."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *paths]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    for name in sorted(set(listed)):
        path = Path(name)
        checked = path.suffix in SUFFIXES or path.name in NAMES
        if checked and (ROOT / path).is_file() and not any(fnmatch(name, glob) for glob in excluded):
            yield name


def main() -> int:
    """Print findings; 1 if there are any."""
    parser = argparse.ArgumentParser(description="Check the language of the repository against scripts/word_list.toml.")
    parser.add_argument("paths", nargs="*", help="folders or files (default: all)")
    parser.add_argument("--count", action="store_true", help="print the number of findings per top folder only")
    options = parser.parse_args()
    rules, excluded = read_rules()
    findings: list[Finding] = []
    for name in files(options.paths, excluded):
        findings += check_text(name, (ROOT / name).read_text(encoding="utf-8"), rules)
    if options.count:
        counts = Counter(finding.path.partition("/")[0] for finding in findings)
        for folder, count in sorted(counts.items()):
            print(f"{count:6} {folder}")
        print(f"{len(findings):6} total")
    else:
        for finding in sorted(findings, key=lambda one: (one.path, one.line)):
            print(finding)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
