"""What can be known of a claim, and from what: levels of evidence, questions, findings and verdicts.

    claim = Claim("lips-3-4", "Table 1", "A fourth step ...", settled_by="...")
    @claim.asks(MINI, "lip error of the student at 4 steps against 3", STUDY)      a question at one level
    def ...(evidence) -> Answer
    claim.judge(evidence) -> Verdict          one finding for each question, and what follows for the 14B model

Four levels. A claim about the 14B model is confirmed or refuted by the first two alone:

    arithmetic             shapes and counts of the released network and its code, the article's own numbers
    measured on the 14B    time and memory on NVIDIA H200 with random weights: what does not depend on trained weights;
                           quality only where there are rows of the released weights (`liveavatar.study.real`)
    measured on mini       another model, far smaller: an analogy. It says yes, no, or too few data, of mini
    published by others    figures or statements with their source. They speak for a claim or against it

Only what a name stands for is judged by a publication: by the paper that introduced it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from liveavatar.study.measures import reported
from liveavatar.study.provenance import weights_in_words
from liveavatar.study.table import Estimate, Table

ARITHMETIC, ON_14B, ON_MINI, PUBLISHED = LEVELS = ("arithmetic", "measured on the 14B", "measured on mini",
                                                   "published by others")
DECIDING = (ARITHMETIC, ON_14B)                     # levels that can confirm or refute a claim about the 14B model

CONFIRMED, REFUTED, DEPENDS, PARTLY_OPEN, OPEN = VERDICTS = (
    "confirmed", "refuted", "true in some settings", "partly open", "open")
YES, NO, TOO_FEW = MINI_ANSWERS = ("in mini: yes", "in mini: no", "in mini: too few data")
SPEAKS_FOR, SPEAKS_AGAINST, UNCLEAR = ("published: speaks for it", "published: speaks against it",
                                       "published: does not decide it")
WORDS = {ARITHMETIC: (CONFIRMED, REFUTED, OPEN), ON_14B: (CONFIRMED, REFUTED, OPEN),
         ON_MINI: (YES, NO, TOO_FEW), PUBLISHED: (SPEAKS_FOR, SPEAKS_AGAINST, UNCLEAR)}      # true, false, unknown

NONE_YET = "nobody has sent results of the released weights yet"

MODEL, NAME = "the 14B model", "a name"             # what a claim is about


@dataclass(frozen=True)
class Source:
    """Describe where evidence can be looked at. path: of a file in this repository, or a web address."""

    label: str
    path: str


SHAPES = Source("the shape of the released network, computed", "liveavatar/study/released.py")
ARTICLE = Source("the article's own figures", "liveavatar/study/reported.json")
CODE = Source("the released code, commit 9c2c38d", "https://github.com/Alibaba-Quark/LiveAvatar/tree/9c2c38d")
SCHEDULE = Source("the schedule, computed", "liveavatar/sampler.py")
SPEED = Source("time of a step and a block on H200", "benchmarks/results/wan_speed.md")
MEMORY = Source("memory on H200 at 3, 4 and 5 steps", "benchmarks/results/wan_memory.md")
PIPELINED = Source("two H200", "benchmarks/results/wan_tpp.md")
GPU_TESTS = Source("tests on H200 at a tiny size", "docs/released-model.md")
STUDY = Source("all rows", "benchmarks/results/study.csv")


@dataclass(frozen=True)
class Evidence:
    """All that a judge may use."""

    table: Table                                   # rows of mini
    reported: dict = field(default_factory=reported)
    released: Table = field(default_factory=lambda: Table([]))      # rows of the released weights, where there are any

    @classmethod
    def of(cls, table: Table) -> Evidence:
        """Sort the rows of a table by the model that made them. Untrained weights are no evidence of quality."""
        real = [row for row in table if row.get("backend") == "wan-s2v-14b"]
        trained = [row for row in real if "random" not in str(row.get("weights_id"))]
        return cls(Table([row for row in table if row.get("backend") != "wan-s2v-14b"]), released=Table(trained))


@dataclass(frozen=True)
class Figure:
    """One figure behind an answer, with its interval, for tables."""

    what: str
    estimate: Estimate
    unit: str = ""
    matters: float | None = None         # the smallest difference that matters, where it is a difference


@dataclass(frozen=True)
class Answer:
    """The answer to one question. holds: True, False, or None where it cannot be told."""

    holds: bool | None
    why: str                                       # plain words; intervals stand in `figures`
    numbers: dict[str, float] = field(default_factory=dict)
    figures: tuple[Figure, ...] = ()


Judge = Callable[[Evidence], Answer]


@dataclass(frozen=True)
class Question:
    """Something of a claim that can be asked at one level."""

    level: str
    test: str                # what is computed, measured, or quoted
    source: Source
    judge: Judge

    def answer(self, evidence: Evidence) -> Finding:
        """Answer it, in the words of its level."""
        answer = self.judge(evidence)
        true, false, unknown = WORDS[self.level]
        word = unknown if answer.holds is None else true if answer.holds else false
        made_with = weights_in_words(evidence.table) if self.level == ON_MINI else ""
        return Finding(self.level, word, self.test, answer.why, self.source, answer.numbers, answer.figures, made_with)


@dataclass(frozen=True)
class Finding:
    """Hold what one question brought."""

    level: str
    verdict: str                                   # in the words of its level
    test: str
    why: str
    source: Source
    numbers: dict[str, float] = field(default_factory=dict)
    figures: tuple[Figure, ...] = ()
    made_with: str = ""                            # weights, where a trained model was measured

    @property
    def waits(self) -> bool:
        """Tell whether this waits for results that nobody has made."""
        return self.why == NONE_YET


@dataclass(frozen=True)
class Verdict:
    """Hold what is known of a claim."""

    verdict: str                                   # of the claim: one of VERDICTS
    findings: tuple[Finding, ...]

    def at(self, level: str) -> tuple[Finding, ...]:
        """Return the findings of one level."""
        return tuple(one for one in self.findings if one.level == level)

    @property
    def mini(self) -> str:
        """Return what mini answers, in words; "" where mini was not asked."""
        words = [one.verdict for one in self.at(ON_MINI)]
        return next((word for word in (NO, TOO_FEW, YES) if word in words), "")

    @property
    def why(self) -> str:
        """Return the reasons of all findings, each with its level."""
        return " ".join(f"[{one.level}] {one.why}." for one in self.findings)

    @property
    def numbers(self) -> dict[str, float]:
        """Return the numbers of all findings by name; of two of one name the later holds."""
        return {name: number for one in self.findings for name, number in one.numbers.items()}


@dataclass(frozen=True)
class Claim:
    """One sentence of the article, and what is asked to judge it."""

    name: str
    part: str                # of the article
    text: str
    settled_by: str          # what would settle it, or what has
    about: str = MODEL
    questions: list[Question] = field(default_factory=list, compare=False)

    def asks(self, level: str, test: str, source: Source) -> Callable[[Judge], Judge]:
        """Return a decorator that enters a function as the judge of one question."""
        def enter(judge: Judge) -> Judge:
            self.questions.append(Question(level, test, source, judge))
            return judge
        return enter

    def judge(self, evidence: Evidence) -> Verdict:
        """Answer every question; the verdict follows from the levels that can decide this claim."""
        order = {level: place for place, level in enumerate(LEVELS)}
        findings = sorted((one.answer(evidence) for one in (*self.questions, *published(self, evidence))),
                          key=lambda one: order[one.level])
        return Verdict(decided(findings, DECIDING if self.about == MODEL else (PUBLISHED,)), tuple(findings))


def decided(findings: list[Finding], levels: tuple[str, ...]) -> str:
    """Join the findings of the levels that count. True in one setting and false in another: it depends; some of them
    open: partly open."""
    true, false = (CONFIRMED, SPEAKS_FOR), (REFUTED, SPEAKS_AGAINST)
    words = {CONFIRMED if one.verdict in true else REFUTED if one.verdict in false else OPEN
             for one in findings if one.level in levels}
    if {CONFIRMED, REFUTED} <= words:
        return DEPENDS
    if len(words) == 1:
        return words.pop()
    return PARTLY_OPEN if words else OPEN


def published(claim: Claim, evidence: Evidence) -> list[Question]:
    """Return what others have published on a claim, from reported.json."""
    sources = evidence.reported["sources"]

    def question(entry: dict) -> Question:
        source = sources[entry["source"]]
        where = Source(f"{source['title']} ({source['kind']}, {source['date']})", source.get("url", ARTICLE.path))
        return Question(PUBLISHED, entry.get("of", "another model"), where,
                        lambda _: Answer(entry["holds"], entry["says"]))
    return [question(entry) for entry in evidence.reported["statements"] if claim.name in entry["claims"]]


CLAIMS: list[Claim] = []


def claim(name: str, part: str, text: str, settled_by: str, about: str = MODEL) -> Claim:
    """Enter a claim of the article."""
    CLAIMS.append(Claim(name, part, text, settled_by, about))
    return CLAIMS[-1]
