"""The paper's claims, checked on whatever results there are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from benchmarks.cells import Cell, Result
from benchmarks.paper import plans, published
from benchmarks.paper.scores import Results, Score, purity
from benchmarks.paper.tables import NOTHING, Row, markdown, number, ratio

#: Standard errors beyond which a difference is not chance.
_BEYOND_CHANCE = 2.0

HOLDS, CHANCE, FAILS = "holds", "within chance", "fails"


@dataclass(frozen=True)
class Claim:
    """What the paper says, and what was found.

    Attributes
    ----------
    text : str
    verdicts : list of str
        One for each comparison that could be made.
    header, rows
        The numbers.
    """

    text: str
    verdicts: list[str]
    header: Row
    rows: Sequence[Row]

    @property
    def verdict(self) -> str:
        """All verdicts in one."""
        if not self.verdicts:
            return "not measured"
        counts = {v: self.verdicts.count(v) for v in (HOLDS, CHANCE, FAILS)}
        found = {verdict: n for verdict, n in counts.items() if n}
        if len(found) == 1:
            return f"{next(iter(found))} ({len(self.verdicts)} of {len(self.verdicts)})"
        return ", ".join(f"{verdict} {n}" for verdict, n in found.items())


def judge(greater: Score, smaller: Score) -> str:
    """Whether one accuracy is above another by more than chance."""
    difference = greater.mean - smaller.mean
    error = (greater.error**2 + smaller.error**2) ** 0.5
    if abs(difference) <= _BEYOND_CHANCE * error:
        return CHANCE
    return HOLDS if difference > 0 else FAILS


def report(results: Results) -> str:
    """All claims: a table of verdicts, then the numbers of each."""
    claims = [
        best_of_all(results, "TURN, paper"),
        best_of_all(results, "TURN"),
        probing_or_tuning(results),
        cleansing(results),
        enough(results, "lp_epochs", 20),
        enough(results, "fft_epochs", 5),
        purer(results),
        cheaper(results),
    ]
    verdicts = [[i + 1, c.text, c.verdict] for i, c in enumerate(claims)]
    text = [
        "A difference is within chance when it is less than two standard errors, those "
        "of the test images or, if larger, of the seeds. The number is that of "
        "comparisons.\n",
        markdown(["", "claim", "verdict"], verdicts),
    ]
    for i, claim in enumerate(claims):
        if claim.verdicts:
            text += [f"\n## {i + 1}. {claim.text}\n"]
            text += [markdown(claim.header, claim.rows)]
    return "\n".join(text)


def best_of_all(results: Results, name: str) -> Claim:
    """Whether one form of TURN is above every other method at every noise."""
    verdicts, rows = [], []
    for setting, scores in _scores(results).items():
        others = {m: s for m, s in scores.items() if not m.startswith("TURN")}
        ours = scores.get(name)
        if ours is None or not others:
            continue
        best = max(others, key=lambda method: others[method].mean)
        difference = ours.mean - others[best].mean
        verdicts.append(judge(ours, others[best]))
        row = [*setting, ours, f"{best}: {others[best]}", f"{difference:+.1f}"]
        rows.append([*row, len(others), verdicts[-1]])
    header = ["data", "backbone", "noise", name, "best other", "difference"]
    text = f"{name}: above every other method at every noise"
    return Claim(text, verdicts, [*header, "others", "verdict"], rows)


def probing_or_tuning(results: Results) -> Claim:
    """Whether probing wins under heavy symmetric noise, and fine-tuning under light."""
    verdicts, rows = [], []
    for setting, scores in _scores(results).items():
        better = _expected(setting[2])
        for loss in ("CE", "GCE", "ELR"):
            probe, tuned = scores.get(f"LP-{loss}"), scores.get(f"FFT-{loss}")
            if probe is None or tuned is None:
                continue
            row = [*setting, loss, probe, tuned, f"{probe.mean - tuned.mean:+.1f}"]
            found = "–"
            if better is not None:
                pair = (probe, tuned) if better == "LP" else (tuned, probe)
                found = judge(*pair)
                verdicts.append(found)
            rows.append([*row, better or "–", found])
    header = ["data", "backbone", "noise", "loss", "LP", "FFT", "LP - FFT"]
    text = "Probing above fine-tuning at heavy symmetric noise, below it at light"
    return Claim(text, verdicts, [*header, "expected", "verdict"], rows)


def _expected(noise: str) -> str | None:
    """Which the paper finds better."""
    if noise in ("none", "aggre"):
        return "FFT"
    kind, _, rate = noise.rpartition(" ")
    if kind != "symmetric":
        return None
    return "LP" if float(rate) >= 0.8 else "FFT"


def cleansing(results: Results) -> Claim:
    """Whether cleansing before every epoch is above once, and once above never."""
    verdicts, rows = [], []
    found: dict[str, dict[Any, Score]] = defaultdict(dict)
    for cell in plans.table5(results.size):
        score, options = results.score(cell), dict(cell.options)
        if score and "lp_epochs" not in options:
            found[cell.backbone][options.get("cleansing", "epoch")] = score
    order = ["epoch", "once", None]
    for backbone, scores in found.items():
        pairs = [(scores.get(a), scores.get(b)) for a, b in pairwise(order)]
        judged = [judge(a, b) if a and b else NOTHING for a, b in pairs]
        verdicts += [verdict for verdict in judged if verdict != NOTHING]
        rows.append([backbone, *(scores.get(a, NOTHING) for a in order), *judged])
    header = ["backbone", "every epoch", "once", "none", "every > once", "once > none"]
    text = "Cleansing before every epoch above once, once above none"
    return Claim(text, verdicts, header, rows)


def enough(results: Results, name: str, most: int) -> Claim:
    """Whether more epochs than that add nothing beyond chance."""
    values, _ = plans.VARIED[name]
    cells = zip(values, plans.sweep(name)(results.size), strict=True)
    scores = {value: results.score(cell) for value, cell in cells}
    known = {value: score for value, score in scores.items() if score}
    verdicts = []
    if most in known:
        more = [judge(s, known[most]) for value, s in known.items() if value > most]
        # Not above is what is claimed.
        verdicts = [FAILS if verdict == HOLDS else HOLDS for verdict in more]
    rows = [[value, score] for value, score in known.items()]
    text = f"{name}: more than {most} add nothing"
    return Claim(text, verdicts, [name, "accuracy (%)"], rows)


def purer(results: Results) -> Claim:
    """Whether a higher threshold leaves fewer wrong labels."""
    values, _ = plans.VARIED["tau"]
    cells = dict(zip(values, plans.sweep("tau")(results.size), strict=True))
    shares = {value: _purity(results.of(cell)) for value, cell in cells.items()}
    known = {value: share for value, share in shares.items() if share}
    verdicts = (
        [judge(known[b], known[a]) for a, b in [(min(known), max(known))]]
        if len(known) > 1
        else []
    )
    rows = [[v, share, results.score(cells[v])] for v, share in known.items()]
    header = ["tau", "right among kept (%)", "accuracy (%)"]
    return Claim("A higher τ keeps a purer set", verdicts, header, rows)


def _purity(results: list[Result]) -> Score | None:
    """Share of right labels among those taken for clean."""
    results = [r for r in results if purity(r) is not None]
    if not results:
        return None
    kept = [
        {"accuracy": purity(r), "n_test": round((1 - r["flagged"]) * r["n_train"])}
        for r in results
    ]
    return Score.of(kept)


def cheaper(results: Results) -> Claim:
    """Whether TURN takes 0.12 of the time of UNICON."""
    verdicts, rows = [], []
    for (data, backbone, noise), scores in _scores(results).items():
        turn = Cell(results.size, backbone, noise, plans.ALGORITHM_1, 0, data=data)
        for method in ("FFT-UNICON", "FFT-DivideMix"):
            if plans.ALGORITHM_1 not in scores or method not in scores:
                continue
            other = replace(turn, method=method)
            time = ratio(results.seconds(turn), results.seconds(other))
            work = ratio(_work(results, turn), _work(results, other))
            if time is None:
                continue
            row = [data, backbone, noise, method, number(time, 3), number(work, 3)]
            found = NOTHING  # the paper has no number
            if method == "FFT-UNICON":
                found = HOLDS if time <= published.TIME_OF_UNICON else FAILS
                verdicts.append(found)
            rows.append([*row, found])
    header = ["data", "backbone", "noise", "TURN against", "time", "work", "verdict"]
    text = f"TURN takes {published.TIME_OF_UNICON} of the time of fine-tuned UNICON"
    return Claim(text, verdicts, header, rows)


def _work(results: Results, cell: Cell) -> float | None:
    """Passes; one that trains is worth three that do not."""
    forward, training = (
        results.mean(cell, key) for key in ("forward_passes", "training_passes")
    )
    return None if forward is None or training is None else forward + 3 * training


def _scores(results: Results) -> dict[tuple[str, str, str], dict[str, Score]]:
    """Dataset, backbone and noise -> method -> score, all parameters as they are."""
    found: dict[tuple[str, str, str], dict[str, Score]] = defaultdict(dict)
    for cell, some in results.settings.items():
        if not cell.options and not cell.observed:
            setting = (cell.data, cell.backbone, cell.noise)
            found[setting][cell.method] = Score.of(some)
    return dict(sorted(found.items()))
