"""The product's terms, each explained once: in the page, and in ``docs/glossary.md``."""

from __future__ import annotations

import re
from functools import cache
from typing import NamedTuple


class Term(NamedTuple):
    """A term: its name, what it means, and the headings that stand for it."""

    name: str
    meaning: str
    also: tuple[str, ...] = ()


GLOSSARY: tuple[Term, ...] = (
    Term("above the frontier", "How much more squared error an arm has than the best constant "
         "betas tried reach at the same rate; negative: less.", ("above",)),
    Term("arm", "What is compared: a balancer and, where something is searched, a space, a "
         "sampler, a pruner and a number of trials.", ("arms", "against", "than")),
    Term("automatic", "An arm that needs nobody to choose the trade-off: its balancer sets it "
         "while the model trains.", ("auto", "kind")),
    Term("balancer", "The rule that sets the trade-off between reconstruction and KL divergence "
         "during training: a constant beta, a schedule, a learned noise variance."),
    Term("beta", "The weight of the KL divergence R in the loss S/2 + beta R; of an automatic arm, "
         "where it ended (k sigma^2).", ("end beta", "sweep's beta")),
    Term("break-even", "The number of trials after which the best trial found, chosen on "
         "validation and deployed unchanged, is as good on test as what the automatic side "
         "deploys.", ("narrower priors", "trials inside", "decades")),
    Term("choosing seeds", "The few seeds on which every arm is trained to choose, on validation, "
         "the pair that is compared.", ("stage",)),
    Term("collapse", "A seed on which a run failed or its model ignores its latents (posterior "
         "collapse). Reported as a share of the seeds, beside the mean."),
    Term("comparing seeds", "The fresh seeds on which the chosen pair alone is trained. Nothing "
         "was chosen on them."),
    Term("confirm run", "A training of an arm's chosen configuration on another seed, scored on "
         "test.", ("phase", "final run", "measuring")),
    Term("cost", "How many images one model of the hand-tuned arm takes, search and final run, as "
         "a multiple of one model of the automatic arm; std x: in standard device seconds.",
         ("x", "std x", "cost multiple")),
    Term("coverage of an interval", "How often the interval holds the true value, by simulation.",
         ("covers",)),
    Term("decides", "Whether searching pays: yes, no, or not shown where the interval of the "
         "difference holds 0.", ("pays",)),
    Term("device seconds", "Seconds that a GPU or a core was used, by what for: training, "
         "evaluation, start-up; billed: all of them.", ("seconds", "billed", "training",
         "evaluation", "second stage", "start-up")),
    Term("difference", "Hand-tuned minus automatic on test, the mean over paired seeds; below 0, "
         "searching found the better model."),
    Term("distortion", "S, the squared error of a reconstruction, summed over the pixels of an "
         "image.", ("S",)),
    Term("hand-tuned", "An arm whose trade-off somebody chooses: it searches beta, or gives one.",
         ("hand", "hand arm")),
    Term("images", "Images trained on, counted each time: the cost that does not depend on the "
         "machine.", ("hand images", "auto images")),
    Term("interval", "95 %, unless said otherwise: over fresh seeds and, for the verdict, fresh "
         "test images; it allows for how the arms were chosen.", ("probability", "95 %")),
    Term("lost", "Work that was begun and never reported when an engine died; redone: what was "
         "trained again after a crash.", ("redone",)),
    Term("margin", "The difference that a study says does not matter, set before it runs."),
    Term("money", "Device seconds at the price that was given."),
    Term("nats", "The unit of a log-likelihood with the natural logarithm; one nat is 1.44 bits."),
    Term("negative ELBO", "The negative evidence lower bound on the log-likelihood of an image; "
         "calibrated: with the noise variance refitted for every method, so that it does not "
         "depend on beta. Lower is better.", ("calibrated negative ELBO", "calibrated -ELBO")),
    Term("no worse", "Shown to be worse by less than the margin, on average and on the typical "
         "seed; wins: how often automatic is the better one on a new seed.",
         ("wins", "non-inferiority")),
    Term("number", "The place of a trial in its arm's search, or of a confirm run among its seeds, "
         "from 0."),
    Term("numerics key", "What fixes the last bit of a result: device kind, torch, precision, "
         "threads, bank width."),
    Term("objective", "The metric that settings are chosen by on validation, and arms are "
         "compared by on test."),
    Term("optimism", "How much better the best trial of a search looked on validation than the "
         "same setting does on fresh seeds."),
    Term("overhead", "Device seconds charged to no trial: pilots, idle slots, idle engines, unused "
         "start-up.", ("pilots", "idle slots", "idle engines")),
    Term("performance profile", "The share of an arm's runs with a regret of at most a value, over "
         "all datasets."),
    Term("pruner", "The rule that ends unpromising trials early; useful, pruned, failed, "
         "unfinished: how trials ended.", ("pruned", "failed", "useful", "unfinished", "state")),
    Term("rate", "R, the KL divergence of the latents from their prior, in nats per image.",
         ("R",)),
    Term("regret", "How far an arm's score is above the level of its dataset, so that datasets "
         "can be averaged.", ("tau",)),
    Term("replicate", "One independent repetition of an arm's whole search."),
    Term("sampler", "The rule that chooses the settings of the next trials: random, TPE, ...; "
         "chosen: trials that it chose by earlier results.", ("chosen",)),
    Term("search", "An arm's trials before its setting is chosen: N of them, of which the best "
         "after n is shown.", ("N", "1 .. N", "n = 1", "n = N/4", "n = N")),
    Term("seed", "What a training draws its randomness from. Arms are compared on the same seeds, "
         "pair by pair; n: how many.", ("seeds", "n")),
    Term("setting", "The values that an arm was given, or that its search chose.",
         ("parameters",)),
    Term("standard device seconds", "Images times the seconds an image takes in a full bank of its "
         "shape, timed at launch: a cost free of what else ran.",
         ("std s", "std", "hand std", "auto std")),
    Term("test", "Images that nothing was trained or chosen on; arms are compared on them."),
    Term("to 1 %", "Images until the objective on validation stayed within 1 % of where it ended."),
    Term("trial", "One configuration and seed, trained once.", ("trials",)),
    Term("tunability", "The expected score of a search on test, averaged over budgets with most "
         "weight on early ones, equal weights or most on late ones.",
         ("one shot", "early", "uniform", "late", "peak")),
    Term("validation", "Images that settings are chosen on; no part of training or test."),
)  # fmt: skip
"""Every term, in alphabetical order."""


@cache
def headings() -> dict[str, Term]:
    """Every name of every term, as headings write it -> the term."""
    return {name: term for term in GLOSSARY for name in (term.name, *term.also)}


def term_of(heading: str) -> Term | None:
    """The term of a heading such as "trials [95 %]", None without one."""
    plain = re.sub(r",? \[?95 %\]?$| \(.*\)$", "", heading).strip("()")
    known = headings()
    return known.get(plain) or known.get(plain[:1].lower() + plain[1:])
