"""All claims with what is known of each: for notebooks, as a web page by itself, and as Markdown.

    page = ClaimsPage(judge_all(table))
    page                                       in a notebook: one line a claim; a click opens its evidence
    page.save("claims.html")                   the same as a file
    page.markdown()                            docs/claims.md
"""

from __future__ import annotations

import html
import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from liveavatar.study.claims import CLAIMS, PARTS
from liveavatar.study.claims.levels import (
    ARITHMETIC,
    LEVELS,
    MINI_ANSWERS,
    ON_14B,
    ON_MINI,
    PUBLISHED,
    VERDICTS,
    Claim,
    Figure,
    Finding,
    Verdict,
)
from liveavatar.study.measures import PSNR
from liveavatar.web.palette import variables

ROOT = Path(__file__).resolve().parents[3]
STYLE = Path(__file__).resolve().parents[1] / "static" / "claims.css"
GUIDE = "docs/real-study.md"
MEANING = {
    ARITHMETIC: "shapes and counts of the released network and its code, the article's own numbers",
    ON_14B: "time and memory on NVIDIA H200 with random weights; quality only by rows of the released weights",
    ON_MINI: "another model, far smaller: an analogy, which confirms and refutes nothing about the 14B model",
    PUBLISHED: "figures or statements of others, with their source",
}
RULE = ("A claim about the 14B model is confirmed or refuted by arithmetic and by measurement of the 14B model alone. "
        "mini answers for mini. What a name stands for is judged by the paper that introduced it.")


@dataclass(frozen=True)
class ClaimsPage:
    """Every claim with its verdict, its evidence by level, and what would settle it."""

    verdicts: dict[str, Verdict]
    base: str = "../"                # from the page to the root of the repository, for links
    whole: bool = True               # all claims, with counts and what the levels mean

    def only(self, *names: str) -> ClaimsPage:
        """Return a page of these claims alone."""
        return ClaimsPage({name: self.verdicts[name] for name in names}, self.base, whole=False)

    def counts(self) -> str:
        """Return how many claims have which verdict, in words."""
        counts = Counter(one.verdict for one in self.verdicts.values())
        return ", ".join(f"{counts[word]} {word}" for word in VERDICTS if counts[word])

    def mini_counts(self) -> str:
        """Return how mini answered, in words."""
        counts = Counter(one.mini for one in self.verdicts.values())
        return ", ".join(f"{counts[word]} {word.removeprefix('in mini: ')}" for word in MINI_ANSWERS if counts[word])

    def parts(self) -> Iterator[tuple[str, list[Claim]]]:
        """Yield the parts of the article, each with its claims."""
        for part in PARTS:
            yield part, [one for one in CLAIMS if one.part == part and one.name in self.verdicts]

    def __str__(self) -> str:
        named = [(one, self.verdicts[one.name]) for _, claims in self.parts() for one in claims]
        return "\n".join(f"{one.name:20} {found.verdict:18} {found.mini:24} {one.text}" for one, found in named)

    # ------------------------------------------------------------------ a page

    def _repr_html_(self) -> str:
        style = f"<style>{variables()}{STYLE.read_text(encoding='utf-8')}</style>"
        if not self.whole:
            lines = "".join(self.html_of(one) for _, claims in self.parts() for one in claims)
            return f"{style}<div class='la-claims'>{lines}</div>"
        levels = "".join(f"<li><b>{level}</b>: {html.escape(MEANING[level])}</li>" for level in LEVELS)
        body = "".join(f"<h3>{html.escape(part)}</h3>" + "".join(map(self.html_of, claims))
                       for part, claims in self.parts())
        counted = (f"<b>About the 14B model</b>: {html.escape(self.counts())}.<br><b>mini</b>, where it was asked: "
                   f"{html.escape(self.mini_counts())}.")
        return (f"{style}<div class='la-claims'><p>{counted}</p><ul>{levels}</ul><p>{html.escape(RULE)} Click a claim "
                f"for its evidence.</p>{body}</div>")

    def html_of(self, claim: Claim) -> str:
        """Return one claim: a line that opens."""
        verdict = self.verdicts[claim.name]
        levels = list(dict.fromkeys(one.level for one in verdict.findings if not one.waits))
        mini = f"<span class='la-chip la-mini'>{html.escape(verdict.mini)}</span>" if verdict.mini else ""
        rows = "".join(self.html_of_finding(one) for one in verdict.findings)
        return (f"<details id='{claim.name}'><summary><span class='la-text'>{html.escape(claim.text)}"
                f"<small>{html.escape(', '.join(levels))}</small></span>"
                f"<span class='la-marks'><span class='la-chip la-{class_of(verdict.verdict)}'>"
                f"{html.escape(verdict.verdict)}</span>{mini}</span></summary>{rows}"
                f"<p class='la-settle'><b>What would settle it.</b> {self.html_of_text(claim.settled_by)}</p>"
                "</details>")

    def html_of_finding(self, finding: Finding) -> str:
        """Return what one question brought, with its figures and where they lie."""
        made = f" Measured with {html.escape(finding.made_with)}." if finding.made_with else ""
        figures = "".join(f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in cells_of(one))}</tr>"
                          for one in finding.figures)
        heads = "".join(f"<th>{head}</th>" for head in HEADS)
        table = f"<table><tr>{heads}</tr>{figures}</table>" if figures else ""
        return (f"<div class='la-finding'><p><b>{html.escape(finding.level)}</b> "
                f"<span class='la-chip la-{class_of(finding.verdict)}'>{html.escape(finding.verdict)}</span></p>"
                f"<p>{html.escape(sentence(finding.why))}{made}</p>{table}"
                f"<p class='la-source'>{html.escape(asked(finding))} Evidence: <a href='{self.link(finding)}' "
                f"target='_blank' rel='noopener'>{html.escape(finding.source.label)}</a></p></div>")

    def html_of_text(self, text: str) -> str:
        """Return a sentence with its code set apart, and with a link to the study of the released weights."""
        code = re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(sentence(text)))
        return code.replace(GUIDE, f"<a href='{html.escape(self.base, quote=True)}{GUIDE}' target='_blank' "
                                   f"rel='noopener'>{GUIDE}</a>")

    def link(self, finding: Finding) -> str:
        """Return the address of the evidence, from where the page is."""
        path = finding.source.path
        return html.escape(path if path.startswith("https://") else self.base + path, quote=True)

    def save(self, path: str | os.PathLike) -> Path:
        """Write a web page that needs no network and no kernel."""
        from liveavatar.study.page import filled
        from liveavatar.study.report import check_report, write_page

        output = check_report(path)
        base = os.path.relpath(ROOT, output.resolve().parent).replace(os.sep, "/") + "/"
        lead = "What an article says of a 14B model, and what is known of it, from which kind of evidence."
        page = filled("Every claim, one by one", lead, {}, "", (), ClaimsPage(self.verdicts, base)._repr_html_())
        return write_page(page, output, "")

    # ------------------------------------------------------------------ Markdown

    def markdown(self) -> str:
        """Return all of it as Markdown, whose details open by a click on GitHub."""
        lines = [*(f"- **{level}**: {MEANING[level]}" for level in LEVELS), "", RULE, "",
                 f"About the 14B model: {self.counts()}. mini, where it was asked: {self.mini_counts()}.", ""]
        for part, claims in self.parts():
            lines += [f"## {part}", ""]
            for one in claims:
                lines += [*self.markdown_of(one), ""]
        return "\n".join(lines).rstrip() + "\n"

    def markdown_of(self, claim: Claim) -> Iterator[str]:
        """Yield the lines of one claim."""
        verdict = self.verdicts[claim.name]
        mini = f" · {verdict.mini}" if verdict.mini else ""
        yield (f"<details id=\"{claim.name}\"><summary>{html.escape(claim.text)} "
               f"<b>{verdict.verdict}</b>{mini}</summary>")
        yield ""
        for one in verdict.findings:
            made = f" Measured with {one.made_with}." if one.made_with else ""
            yield (f"- *{one.level}*: **{one.verdict}**. {escaped(sentence(one.why))}{made} {escaped(asked(one))} "
                   f"Evidence: [{escaped(one.source.label)}]({self.link(one)})")
        figures = [figure for one in verdict.findings for figure in one.figures]
        if figures:
            yield ""
            yield "| " + " | ".join(HEADS) + " |"
            yield "|---|---:|---|---|---:|"
            for figure in figures:
                yield "| " + " | ".join(map(escaped, cells_of(figure))) + " |"
        yield ""
        settled = escaped(sentence(claim.settled_by)).replace(GUIDE, f"[{GUIDE}]({self.base}{GUIDE})")
        yield f"What would settle it: {settled}"
        yield ""
        yield "</details>"


HEADS = ("figure", "mean", "95 % interval", "matters from", "videos")


def cells_of(figure: Figure) -> tuple[str, ...]:
    """Return one figure as the cells of a table."""
    found, unit = figure.estimate, f" {figure.unit}" if figure.unit else ""
    interval = f"{found.low:.3g} to {found.high:.3g}" if found.bounded else "unknown"
    return (figure.what, f"{found.mean:.3g}{unit}" if found.known else "unknown", interval,
            "" if figure.matters is None else f"{figure.matters:g}{unit}", str(found.count))


def asked(finding: Finding) -> str:
    """Say what was asked, or of which model others speak, and what PSNR rewards."""
    of_psnr = any(PSNR.label in one.what for one in finding.figures)
    return sentence(f"{'of' if finding.level == PUBLISHED else 'asked'}: {finding.test}") + (
        f" PSNR ({PSNR.label}) rewards the mean of all likely pictures more than a sharp one." if of_psnr else "")


def class_of(verdict: str) -> str:
    """Return the name of a verdict in the style sheet."""
    return verdict.replace(":", "").replace(" ", "-")


def sentence(text: str) -> str:
    """Return a text as a sentence: a capital, unless it begins with code or a name, and a full stop."""
    first = text.split(" ")[0]
    begun = text if not text or first.lower() != first or first == "mini" else text[0].upper() + text[1:]
    return begun if begun.endswith((".", "?")) else begun + "."


def escaped(text: str) -> str:
    """Return text that Markdown leaves as it is, but for code between backticks."""
    parts = text.split("`")
    for place in range(0, len(parts), 2):                          # every second one is code
        for mark in ("\\", "*", "_", "|", "<"):
            parts[place] = parts[place].replace(mark, "\\" + mark)
    return "`".join(parts)
