"""What is promised to the patients: the ledger's lifetime epsilon, this study's share of it, and how it is kept."""

from dataclasses import dataclass
from importlib.metadata import version

from client.config import SiteConfig
from client.privacy_policy import PrivacyPolicy, load_policy
from federation.config import StudyConfig
from privacy.accounting.epsilon import epsilon
from privacy.accounting.phase import Phase, merge
from privacy.ledger.book import Book
from privacy.ledger.verification import Statement, problems_of, read_statement

UNIT = "one patient, with all radiographs"
SAMPLING = "Poisson: every patient by a coin of its own in every step"
RANDOMNESS = "AES-256 in counter mode, keyed by the operating system; no seed of a study"


@dataclass(frozen=True, kw_only=True, slots=True)
class Terms:
    """Public constants of one stage of the study, of those that no ledger holds."""

    max_grad_norm: float
    """C."""
    batch_size: int
    """L, the divisor."""
    local_steps: int
    """T."""
    max_images: int
    """M."""
    num_draws: int
    """K."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """The promise of one data set, as its ledger has it."""

    data_set: str
    adjacency: str
    delta: float
    cap: float
    epsilon: float
    """Of everything ever charged."""
    study_epsilon: float | None
    """Of this study alone; None if nothing was charged for it. The shares do not add up: steps compose."""
    others_epsilon: float
    """Of everything else alone: other studies, counts."""
    phases: tuple[Phase, ...]
    """Of this study, noise that is charged with a loss included."""
    terms: tuple[Terms, ...]
    """Of this study's private stages; empty if its plan was not given."""
    accountant: str
    head_count: int
    head_digest: str
    num_charges: int
    num_receipts: int
    witness: str | None
    """Who countersigned last."""
    witnessed_count: int
    """Records of the ledger that the last receipt covers."""

    @property
    def noise_multiplier(self) -> float | None:
        """The least of this study's; None without any."""
        return min((phase.noise_multiplier for phase in self.phases), default=None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Promise:
    """The claim, or why there is none."""

    has_policy: bool
    problems: tuple[str, ...]
    """Of the ledger and its receipts, in words for the data-protection officer."""
    claim: Claim | None
    """None without a ledger, or with one that cannot be read."""
    book: Book | None


def read_promise(site: SiteConfig, study_digest: str, study: StudyConfig | None) -> Promise:
    """Read the hospital's ledger without touching it.

    Args:
        site: whose.
        study_digest: of the study under audit.
        study: its plan, for the constants that no ledger holds; None if it is not at hand.

    Raises:
        ConfigError: the hospital's privacy policy cannot be used.
    """
    if site.privacy_path is None:
        return Promise(has_policy=False, problems=(), claim=None, book=None)
    policy = load_policy(site.privacy_path)
    problems = problems_of(policy.ledger_path, data_set=policy.data_set, delta=policy.delta)
    try:
        statement = read_statement(policy.ledger_path)
    except (RuntimeError, ValueError):  # said among the problems
        return Promise(has_policy=True, problems=problems, claim=None, book=None)
    if statement.book is None:
        return Promise(has_policy=True, problems=problems, claim=None, book=None)
    claim = _claim(policy, statement, statement.book, study_digest, _terms(study))
    return Promise(has_policy=True, problems=problems, claim=claim, book=statement.book)


def _claim(
    policy: PrivacyPolicy,
    statement: Statement,
    book: Book,
    study_digest: str,
    terms: tuple[Terms, ...],
) -> Claim:
    own = [charge for charge in book.charges.values() if charge.study_digest == study_digest]
    rest = [charge for charge in book.charges.values() if charge.study_digest != study_digest]
    empty = Book(data_set=book.data_set, delta=book.delta, adjacency=book.adjacency, cap=book.cap)
    last = statement.receipts[-1].receipt if statement.receipts else None
    return Claim(
        data_set=book.data_set,
        adjacency=book.adjacency,
        delta=book.delta,
        cap=min(book.cap, policy.max_epsilon),
        epsilon=book.spent,
        study_epsilon=empty.spent_with(*(charge.cost for charge in own)) if own else None,
        others_epsilon=empty.spent_with(*(charge.cost for charge in rest)),
        phases=merge(charge.cost for charge in own if isinstance(charge.cost, Phase)),
        terms=terms,
        accountant=_accountant(book),
        head_count=statement.chain.head.count,
        head_digest=statement.chain.head.digest,
        num_charges=len(book.charges),
        num_receipts=len(statement.receipts),
        witness=None if last is None else last.witness,
        witnessed_count=0 if last is None else last.head.count,
    )


def _accountant(book: Book) -> str:
    """Which bound the lifetime epsilon is, and whose code computed it."""
    costs = [charge.cost for charge in book.charges.values()]
    phases = [cost for cost in costs if isinstance(cost, Phase)]
    name = epsilon(phases, book.delta).source.upper() if phases else "sum of pure epsilons"
    return f"{name} (the smaller of PRV and RDP), Opacus {version('opacus')}"


def _terms(study: StudyConfig | None) -> tuple[Terms, ...]:
    stages = study.stages if study is not None else ()
    return tuple(
        Terms(
            max_grad_norm=stage.local.privacy.max_grad_norm,
            batch_size=stage.local.batch_size,
            local_steps=stage.local.local_steps,
            max_images=stage.local.privacy.max_images,
            num_draws=stage.local.num_draws,
        )
        for stage in stages
        if stage.local.privacy is not None
    )
