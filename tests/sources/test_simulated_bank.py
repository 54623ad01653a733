"""The simulated bank: the contract it writes, the truth it keeps, and that nothing gives launderers away."""

# mypy: disable-error-code="operator, arg-type, union-attr"
from __future__ import annotations

import hashlib
import json
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from ml_assets.config import SimulationConfig, load_config
from ml_assets.sources.simulated_bank import simulate
from ml_assets.sources.simulated_bank.bank import _book
from ml_assets.sources.simulated_bank.counterparties import build_directory, enter_clients
from ml_assets.sources.simulated_bank.launderers import METHODS
from ml_assets.sources.simulated_bank.ledger import DAY, Calendar, payments, quota
from ml_assets.sources.simulated_bank.lookalikes import EPISODE_NAMES
from ml_assets.sources.simulated_bank.population import ARCHETYPES, NAMES
from ml_assets.sources.simulated_bank.vocabulary import CHANNELS, COUNTRIES, CURRENCIES, RATINGS, SECTORS, SIZES

TINY = load_config("tiny").simulation
TRANSACTIONS = {
    "txn_id": pl.String,
    "client_id": pl.String,
    "txn_date": pl.Datetime("us"),
    "amount": pl.Float64,
    "direction": pl.String,
    "counterparty_id": pl.String,
    "counterparty_country": pl.String,
    "counterparty_sector": pl.String,
    "channel": pl.String,
    "currency": pl.String,
    "ingested_at": pl.Datetime("us"),
}
PROFILES = {
    "client_id", "industry", "occupation", "expected_turnover", "geography", "size_bucket", "onboarding_date",
    "risk_rating", "pep_flag", "sanctions_flag", "country_risk_score", "industry_risk_score", "account_age_months",
    "valid_from",
}  # fmt: skip
FILES = (
    "transactions.parquet",
    "client_profiles.parquet",
    "str_labels.parquet",
    "blacklist.parquet",
    "fx_rates.parquet",
    "source.json",
    "truth/launderers.parquet",
    "truth/laundering_transactions.parquet",
    "truth/archetypes.parquet",
)


class Bank:
    """The files of one simulated bank, read once."""

    def __init__(self, folder: Path) -> None:
        self.transactions = pl.read_parquet(folder / "transactions.parquet")
        self.profiles = pl.read_parquet(folder / "client_profiles.parquet")
        self.labels = pl.read_parquet(folder / "str_labels.parquet")
        self.blacklist = pl.read_parquet(folder / "blacklist.parquet")
        self.rates = pl.read_parquet(folder / "fx_rates.parquet")
        self.launderers = pl.read_parquet(folder / "truth/launderers.parquet")
        self.illicit = pl.read_parquet(folder / "truth/laundering_transactions.parquet")
        self.archetypes = pl.read_parquet(folder / "truth/archetypes.parquet")

    @property
    def base(self) -> pl.DataFrame:
        """Transactions with the amount in base currency and the pattern of illicit rows."""
        return (
            self.transactions.with_columns(rate_date=pl.col("txn_date").dt.date())
            .join(self.rates, on=["currency", "rate_date"], how="left", maintain_order="left")
            .with_columns(amount_base=pl.col("amount") * pl.col("rate_to_base"))
            .join(self.illicit.select("txn_id", "pattern"), on="txn_id", how="left", maintain_order="left")
        )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("simulated")
    simulate(TINY, path)
    return path


@pytest.fixture(scope="module")
def bank(folder: Path) -> Bank:
    return Bank(folder)


def _digests(folder: Path) -> dict[str, str]:
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in FILES}


def test_equal_configuration_gives_byte_equal_files(folder: Path, tmp_path: Path) -> None:
    stages: list[str] = []
    simulate(TINY, tmp_path, stages.append)
    assert _digests(tmp_path) == _digests(folder)
    assert len(stages) >= 4


def test_another_seed_gives_another_bank(folder: Path, tmp_path: Path) -> None:
    simulate(TINY.model_copy(update={"seed": TINY.seed + 1}), tmp_path)
    other, this = _digests(tmp_path), _digests(folder)
    assert all(other[name] != this[name] for name in FILES if name.endswith("parquet"))


def test_transactions_follow_the_contract(bank: Bank) -> None:
    t = bank.transactions
    assert dict(t.schema) == TRANSACTIONS
    assert t.null_count().sum_horizontal().item() == 0
    assert t["txn_id"].n_unique() == len(t)
    assert (t["amount"] > 0).all()
    assert ((t["amount"] * 100 - (t["amount"] * 100).round()).abs() < 1e-4).all()
    for column, words in (
        ("direction", ("inbound", "outbound")),
        ("channel", CHANNELS),
        ("currency", CURRENCIES),
        ("counterparty_country", COUNTRIES),
        ("counterparty_sector", SECTORS),
    ):
        assert set(t[column].unique()) <= set(words)
    assert (t["client_id"] != t["counterparty_id"]).all()
    assert t["txn_date"].is_sorted()
    last = TINY.start_date + timedelta(days=TINY.days)
    assert t["txn_date"].dt.date().is_between(TINY.start_date, last, closed="left").all()


def test_every_channel_and_the_size_asked_for(bank: Bank) -> None:
    assert set(bank.transactions["channel"]) >= set(CHANNELS) - {"other"}
    per_client = len(bank.transactions) / TINY.clients
    assert 110 <= per_client <= 190  # 200-250 in 546 days is 133-167 in 364


def test_most_rows_are_known_by_the_next_night_and_none_before_it_happened(bank: Bank) -> None:
    t = bank.transactions
    assert (t["ingested_at"] >= t["txn_date"]).all()
    nights = (t["ingested_at"].dt.date() - t["txn_date"].dt.date()).dt.total_days()
    assert 0.005 < (nights > 1).mean() < 0.05
    late = nights > 1
    illicit = t["txn_id"].is_in(bank.illicit["txn_id"].implode())
    assert abs(late.filter(illicit).mean() - late.mean()) < 0.03


def test_profiles_follow_the_contract(bank: Bank) -> None:
    p = bank.profiles
    assert set(p.columns) == PROFILES
    assert p.select("client_id", "valid_from").n_unique() == len(p)
    assert p["client_id"].n_unique() == TINY.clients
    versions = p.group_by("client_id").len()["len"]
    assert versions.max() == 2
    assert 0.05 < (versions == 2).mean() < 0.25
    persons = p.filter(pl.col("industry") == "household")
    assert persons["occupation"].null_count() == 0
    assert set(persons["size_bucket"]) == {"individual"}
    firms = p.filter(pl.col("industry") != "household")
    assert firms["occupation"].null_count() == len(firms)
    assert set(firms["size_bucket"]) <= set(SIZES) - {"individual"}
    assert set(p["risk_rating"]) <= set(RATINGS)
    for score in ("country_risk_score", "industry_risk_score"):
        assert p[score].is_between(0, 100).all()
    assert (p["expected_turnover"] > 0).all()
    assert (p["valid_from"] >= p["onboarding_date"]).all()
    last = TINY.start_date + timedelta(days=TINY.days - 1)
    months = [
        (last.year - d.year) * 12 + last.month - d.month - (d.day > last.day) for d in p["onboarding_date"].to_list()
    ]
    assert p["account_age_months"].to_list() == months


def test_exchange_rates_cover_every_currency_and_day(bank: Bank) -> None:
    assert len(bank.rates) == len(CURRENCIES) * TINY.days
    assert bank.rates.filter(pl.col("currency") == "EUR")["rate_to_base"].unique().to_list() == [1.0]
    assert bank.base["rate_to_base"].null_count() == 0
    assert bank.transactions["currency"].n_unique() >= 6


def test_counterparties_keep_country_and_sector(bank: Bank) -> None:
    per_party = bank.transactions.group_by("counterparty_id").agg(
        pl.col("counterparty_country").n_unique(), pl.col("counterparty_sector").n_unique().alias("sectors")
    )
    assert per_party["counterparty_country"].max() == 1
    assert per_party["sectors"].max() == 1


def test_clients_as_counterparties_are_who_their_profile_says(bank: Bank) -> None:
    seen = bank.transactions.join(
        bank.profiles.unique("client_id").select("client_id", "industry", "geography"),
        left_on="counterparty_id",
        right_on="client_id",
    )
    assert len(seen) > 1000
    assert (seen["counterparty_sector"] == seen["industry"]).all()
    assert (seen["counterparty_country"] == seen["geography"]).all()


def test_payments_between_clients_are_booked_on_both_sides(bank: Bank) -> None:
    sides = bank.transactions.filter(pl.col("counterparty_id").is_in(bank.labels["client_id"].implode()))
    assert len(sides) > 1000
    keys = ["payer", "payee", "txn_date", "amount", "channel", "currency"]

    def side(direction: str, payer: str, payee: str) -> pl.DataFrame:
        frame = sides.filter(pl.col("direction") == direction)
        return frame.rename({payer: "payer", payee: "payee"}).group_by(keys).len().sort(keys)

    out = side("outbound", "client_id", "counterparty_id")
    assert out.equals(side("inbound", "counterparty_id", "client_id"))


def test_nobody_pays_before_being_a_client(bank: Bank) -> None:
    opened = bank.profiles.select("client_id", "onboarding_date").unique()
    t = bank.transactions.join(opened, on="client_id")
    assert len(t) == len(bank.transactions)
    assert (t["txn_date"].dt.date() >= t["onboarding_date"]).all()
    new = opened.filter(pl.col("onboarding_date") > TINY.start_date)
    assert len(new) > 5
    old = (TINY.start_date - opened["onboarding_date"].min()).days / 365.25
    assert 12 < old < 15.1


def test_labels_hold_every_client_once_and_agree_with_the_truth(bank: Bank) -> None:
    labels, truth = bank.labels, bank.launderers
    assert labels["client_id"].n_unique() == len(labels) == TINY.clients
    assert set(labels["client_id"]) == set(bank.profiles["client_id"])
    assert ((labels["str_flag"] == 1) == labels["str_date"].is_not_null()).all()
    joined = truth.join(labels, on="client_id", suffix="_label")
    assert len(joined) == len(truth)
    assert (joined["is_detected"] == (joined["str_flag"] == 1)).all()
    detected = joined.filter("is_detected")
    assert (detected["str_date"] == detected["str_date_label"]).all()
    assert (detected["str_date"] > detected["start_date"]).all()
    undetected = 1 - truth["is_detected"].mean()
    assert abs(undetected - TINY.undetected_ratio) < 0.03
    wrong = labels.filter(pl.col("str_flag") == 1).join(truth, on="client_id", how="anti")
    assert len(wrong) == round(TINY.wrong_str_ratio * (TINY.clients - round(TINY.launderer_ratio * TINY.clients)))


def test_truth_is_sound(bank: Bank) -> None:
    truth = bank.launderers
    assert len(truth) == round(TINY.launderer_ratio * TINY.clients)
    assert truth["strength"].is_between(0.2, 1.0).all()
    days = (truth["end_date"] - truth["start_date"]).dt.total_days()
    assert days.min() >= 20
    assert days.max() <= 26 * 7 + 1
    assert set(truth["pattern"]) == set(METHODS)
    schemes = {"underground_banking", "trade_based", "msb_professional"}
    assert set(truth.filter(pl.col("kind") == "scheme")["pattern"]) == schemes
    rows = bank.illicit.join(bank.transactions, on=["txn_id", "client_id"]).join(
        truth.select("client_id", "start_date", "end_date"), on="client_id"
    )
    assert len(rows) == len(bank.illicit)
    assert rows["txn_date"].dt.date().is_between(rows["start_date"], rows["end_date"]).all()
    assert set(bank.illicit["client_id"]) == set(truth["client_id"])


def test_some_reports_are_late_and_delays_vary(tmp_path: Path) -> None:
    simulate(SimulationConfig(clients=1_000, days=364, launderer_ratio=0.15, seed=5), tmp_path)
    detected = pl.read_parquet(tmp_path / "truth/launderers.parquet").filter("is_detected")
    delay = (detected["str_date"] - detected["start_date"]).dt.total_days()
    assert delay.is_between(14, 70).mean() > 0.7
    assert delay.std() > 10
    assert 0.05 < (detected["str_date"] > detected["end_date"]).mean() < 0.5


def test_every_four_weeks_have_a_report(bank: Bank) -> None:
    offsets = (bank.labels["str_date"].drop_nulls() - TINY.start_date).dt.total_days()
    stretches = set((offsets // 28).to_list())
    assert stretches >= set(range(2, TINY.days // 28))


def test_launderers_are_ordinary_most_of_the_time(bank: Bank) -> None:
    shares = bank.base.group_by("client_id").agg(pl.col("pattern").is_not_null().mean().alias("share"))
    shares = shares.filter(pl.col("share") > 0)
    assert len(shares) == len(bank.launderers)
    assert shares["share"].max() < 0.5
    assert shares["share"].median() < 0.25


def test_no_id_gives_launderers_away(bank: Bank) -> None:
    clients = bank.labels.sort("client_id").with_columns(
        bad=pl.col("client_id").is_in(bank.launderers["client_id"].implode())
    )
    n, bad = len(clients), int(clients["bad"].sum())
    mean_rank = np.flatnonzero(clients["bad"].to_numpy()).mean()
    # the mean of a random sample of ranks: four standard errors
    assert abs(mean_rank - (n - 1) / 2) < 4 * n / np.sqrt(12 * bad)
    runs = int((clients["bad"].to_numpy()[1:] != clients["bad"].to_numpy()[:-1]).sum())
    assert runs > bad  # scattered, not in blocks
    # neither do the formats of ids, which are those of everybody
    assert bank.transactions["txn_id"].str.len_chars().n_unique() == 1
    assert set(bank.transactions["counterparty_id"].str.slice(0, 1)) == {"C", "X"}


def test_row_order_within_a_second_says_nothing() -> None:
    rng = np.random.Generator(np.random.PCG64(4))
    directory = build_directory(rng, 100)
    enter_clients(directory, np.full(100, 13), np.zeros(100))
    case = np.repeat([-1, 0], 1_000)  # honest ones come first, as they do in the simulation
    same_second = payments(
        np.arange(2_000) % 100, np.full(2_000, 150), np.full(2_000, 60), np.ones(2_000), True, case=case
    )
    booked = _book(rng, same_second, directory, np.ones((len(CURRENCIES), 1)))
    assert abs(np.flatnonzero(booked.case == 0).mean() - 999.5) < 60


def test_illicit_counterparties_have_honest_customers(bank: Bank) -> None:
    t = bank.base
    honest = t.join(bank.launderers, on="client_id", how="anti")["counterparty_id"].unique()
    illicit = t.filter(pl.col("pattern").is_not_null() & pl.col("counterparty_id").str.starts_with("X"))
    assert len(illicit) > 300
    assert illicit["counterparty_id"].is_in(honest.implode()).all()
    assert bank.blacklist["entity_id"].is_in(honest.implode()).all()


def test_intra_bank_edges_of_laundering_run_between_launderers(bank: Bank) -> None:
    illicit = bank.base.filter(pl.col("pattern").is_not_null() & pl.col("counterparty_id").str.starts_with("C"))
    assert len(illicit) > 10
    assert illicit["counterparty_id"].is_in(bank.launderers["client_id"].implode()).all()


def test_rings_close(bank: Bank) -> None:
    """Every member of a ring both pays and is paid on it."""
    rows = bank.base.filter(pl.col("pattern") == "cycle")
    directions = rows.group_by("client_id").agg(pl.col("direction").n_unique())
    assert len(directions) >= 3
    assert (directions["direction"] == 2).all()


def test_planted_indicators_are_really_there(tmp_path: Path) -> None:
    simulate(SimulationConfig(clients=1_000, days=364, launderer_ratio=0.20, seed=11), tmp_path)
    bank = Bank(tmp_path)
    t = bank.base

    def of(pattern: str) -> pl.DataFrame:
        return t.filter(pl.col("pattern") == pattern)

    near = of("structuring").filter(pl.col("channel") == "cash")["amount_base"].is_between(9_000, 9_999.99)
    assert near.mean() > 0.4
    banking = of("underground_banking")
    assert (
        banking.filter(pl.col("counterparty_country").is_in(["CN", "HK"]) & (pl.col("channel") == "wire")).height > 20
    )
    assert banking.filter((pl.col("counterparty_sector") == "casino") & (pl.col("direction") == "outbound")).height > 5
    assert banking.filter((pl.col("channel") == "draft") & (pl.col("direction") == "outbound")).height > 5
    assert banking.filter(pl.col("counterparty_sector") == "msb").height > 5
    trade = of("trade_based")
    assert trade.filter((pl.col("currency") == "USD") & (pl.col("channel") == "wire")).height > 5
    assert trade.filter((pl.col("amount") >= 50_000) & (pl.col("amount") % 50_000 == 0)).height > 3
    services = of("msb_professional")
    exchange = services.filter(pl.col("channel") == "fx")
    assert exchange["amount_base"].is_between(8_990, 10_010).mean() > 0.4
    assert services.filter((pl.col("counterparty_sector") == "msb") & (pl.col("direction") == "inbound")).height > 5
    burst = of("burst").filter(pl.col("direction") == "outbound").sort("client_id", "txn_date")
    gaps = burst.select(pl.col("txn_date").diff().over("client_id").dt.total_seconds()).to_series().drop_nulls()
    assert (gaps < 60).mean() > 0.4


def test_dormant_accounts_were_quiet_before(tmp_path: Path) -> None:
    simulate(SimulationConfig(clients=1_000, days=546, launderer_ratio=0.15, seed=12), tmp_path)
    bank = Bank(tmp_path)
    woken = bank.launderers.filter(
        (pl.col("pattern") == "dormant_then_active") & (pl.col("start_date") > date(2024, 7, 1))
    )
    t = bank.transactions.join(woken.select("client_id", "start_date"), on="client_id")
    gap = (t["start_date"] - t["txn_date"].dt.date()).dt.total_days()
    quiet = t.filter(gap.is_between(1, 55)).height
    before = t.filter(gap.is_between(175, 229)).height
    assert len(woken) >= 3
    assert quiet < 0.3 * before


@pytest.mark.parametrize("name", [a.name for a in ARCHETYPES])
def test_every_way_of_life_occurs(bank: Bank, name: str) -> None:
    assert (bank.archetypes["archetype"] == name).any()


@pytest.mark.parametrize("name", EPISODE_NAMES)
def test_every_honest_episode_occurs_among_honest_clients(bank: Bank, name: str) -> None:
    honest = bank.archetypes.join(bank.launderers, on="client_id", how="anti")
    assert (honest["episode"] == name).any()


def test_lookalikes_look_alike(tmp_path: Path) -> None:
    simulate(SimulationConfig(clients=1_500, days=364, launderer_ratio=0.0, seed=3), tmp_path)
    bank = Bank(tmp_path)
    assert len(bank.launderers) == len(bank.illicit) == 0
    assert bank.labels["str_flag"].sum() == round(0.004 * 1_500)  # honest clients are reported all the same
    t = bank.base.join(bank.archetypes, on="client_id")

    def of(archetype: str, *conditions: pl.Expr) -> pl.DataFrame:
        return t.filter(pl.col("archetype") == archetype, *conditions)

    inbound, outbound = pl.col("direction") == "inbound", pl.col("direction") == "outbound"
    payees = of("payroll_firm", outbound).group_by("client_id").agg(pl.col("counterparty_id").n_unique())
    assert payees["counterparty_id"].min() > 20
    takings = of("restaurant", inbound)
    assert takings.filter(pl.col("channel") == "cash")["amount_base"].sum() > 0.2 * takings["amount_base"].sum()
    wires = of("student_paid_from_abroad", inbound, pl.col("channel") == "wire")
    assert wires["amount_base"].sum() > 0.4 * of("student_paid_from_abroad", inbound)["amount_base"].sum()
    assert of("notary", outbound)["amount_base"].max() > 100_000
    assert of("car_dealer", inbound, pl.col("channel") == "cash")["amount_base"].max() > 10_000
    assert of("import_export_firm", pl.col("channel") == "wire").height > 100
    assert of("remittance_sender", outbound, pl.col("counterparty_sector") == "msb").height > 100
    sales = of("marketplace_seller", inbound).group_by("client_id").agg(pl.col("counterparty_id").n_unique())
    assert sales["counterparty_id"].median() > 50
    assert of("crypto_investor", pl.col("counterparty_sector") == "crypto_exchange").height > 50
    assert of("casino_player", outbound, pl.col("counterparty_sector") == "casino").height > 50
    sellers = t.filter(pl.col("episode") == "house_seller", pl.col("amount_base") > 40_000)
    assert set(sellers["direction"]) == {"inbound", "outbound"}


def test_kyc_knows_only_a_little(tmp_path: Path) -> None:
    simulate(SimulationConfig(clients=3_000, days=180, launderer_ratio=0.2, seed=2), tmp_path)
    bank = Bank(tmp_path)
    first = bank.profiles.unique("client_id", keep="first", maintain_order=True).with_columns(
        bad=pl.col("client_id").is_in(bank.launderers["client_id"].implode()), high=pl.col("risk_rating") == "high"
    )
    high = first.group_by("bad").agg(pl.col("high").mean()).sort("bad")["high"]
    assert abs(high[1] - high[0]) < 0.12


def test_seasons_weekends_and_hours(bank: Bank) -> None:
    card = bank.transactions.filter(pl.col("channel") == "card")
    per_month = card.group_by(pl.col("txn_date").dt.month()).len().sort("txn_date")["len"]
    assert per_month[11] == per_month.max()  # December
    cash = bank.transactions.filter(pl.col("channel") == "cash")
    assert (cash["txn_date"].dt.weekday() == 7).mean() == 0.0
    assert cash["txn_date"].dt.hour().is_between(8, 17).all()


def test_source_states_what_it_is(folder: Path) -> None:
    source = json.loads((folder / "source.json").read_text(encoding="utf-8"))
    assert (source["source"], source["base_currency"], source["not_available"]) == ("simulated", "EUR", {})


def test_a_bank_too_small_to_hide_in_still_works_or_says_why(tmp_path: Path) -> None:
    simulate(SimulationConfig(clients=50, days=60), tmp_path)
    assert len(pl.read_parquet(tmp_path / "transactions.parquet")) > 500


def test_quota_gives_every_class_a_member() -> None:
    drawn = quota(np.random.Generator(np.random.PCG64(1)), np.array([100.0, 1.0, 0.0, 0.1]), 50)
    assert np.bincount(drawn, minlength=4).tolist() == [48, 1, 0, 1]


def test_calendar_moves_month_payments_to_the_friday_before() -> None:
    calendar = Calendar(date(2024, 6, 1), 30)  # 1 June 2024 is a Saturday
    rng = np.random.Generator(np.random.PCG64(1))
    owner, at, month = calendar.monthly(rng, np.array([-5, 20]), np.array([7, 7]), "office")
    assert owner.tolist() == [0]  # the second owner opened after the 8th
    assert (at // DAY).tolist() == [6]  # Saturday the 8th, paid on Friday the 7th
    assert month.tolist() == [6]


def test_archetype_names_are_unique() -> None:
    assert len(set(NAMES)) == len(NAMES)
