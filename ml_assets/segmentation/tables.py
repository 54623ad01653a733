"""Contracts of the segmentation tables, schema ``segments``.

Rule of this file: what a table holds, nothing of how; the function that fills it stands in the module it describes.
"""

from __future__ import annotations

from typing import Final

from ml_assets.contracts.table import Column, DType, TableContract
from ml_assets.segmentation.eda import SUMMARY_SCHEMA
from ml_assets.segmentation.measures import CLIENT_MEASURES, PROFILE_COLUMNS
from ml_assets.segmentation.personas import BANDS
from ml_assets.segmentation.policy import TREATMENTS

CLIENT: Final = Column("client_id", "text", "Client the row describes.")
AS_OF: Final = Column("as_of_date", "date", "As-of Monday, 00:00 UTC, exclusive end of what the row has seen.")
SEGMENT: Final = Column("segment_id", "text", "Segment; keeps its id over refits.")
FIT: Final = Column("fit_date", "date", "Training week the segments were fitted on.")
SPLITS: Final = ("train", "embargo", "validation", "test", "live")
NONE_HERE: Final = "null where no client has a value"


def _table(name: str, description: str, grain: tuple[str, ...], *columns: Column) -> TableContract:
    return TableContract("segments", name, description, grain, columns)


def _number(
    name: str, text: str, unit: str = "-", null: str | None = None, low: float | None = 0, high: float | None = None
) -> Column:
    return Column(name, "number", text, unit, null_rule=null, minimum=low, maximum=high)


def _ratio(name: str, text: str, null: str | None = None) -> Column:
    return _number(name, text, "ratio", null, 0, 1)


def _count(name: str, text: str) -> Column:
    return Column(name, "integer", text, "count", minimum=0)


INPUTS: Final = _table(
    "segment_inputs",
    "One row per client and as-of date from the first training week on: the features segments are made of.",
    ("client_id", "as_of_date"),
    CLIENT,
    AS_OF,
    *(Column(c, "text", f"Profile: {c.replace('_', ' ')}.", null_rule="not in the profile") for c in PROFILE_COLUMNS),
    *(
        Column(m.column, "number", f"{m.label}, as in {m.source}.", null_rule=f"as in {m.source}")
        for m in CLIENT_MEASURES
    ),
)
_SUMMARY_TEXT: Final = {
    "measure": "Column of the measure.",
    "label": "What it is, for people.",
    "clients_count": "Clients with a value.",
    "missing_ratio": "Share of clients without a value, 0-1.",
    "minimum": "Smallest value.",
    "lower_whisker": "Smallest value within 1.5 interquartile ranges of the quartiles.",
    "quartile_1": "25th percentile.",
    "median": "Median.",
    "quartile_3": "75th percentile.",
    "upper_whisker": "Largest value within 1.5 interquartile ranges of the quartiles.",
    "maximum": "Largest value.",
    "mean": "Mean.",
    "std": "Standard deviation.",
    "outliers_count": "Values beyond the whiskers.",
    "skewness": "Skewness of the values.",
    "skewness_logged": "Skewness of their signed logarithm.",
    "is_used": "Helps to form segments.",
    "is_logged": "Goes through the logarithm first.",
    "left_out_because": "Why it is not used; null where it is.",
}


def _summary_columns() -> tuple[Column, ...]:
    kinds: dict[str, DType] = {"String": "text", "Int64": "integer", "Float64": "number", "Boolean": "boolean"}
    always = {"measure", "label", "is_used", "is_logged"}
    return tuple(
        Column(c, kinds[str(t)], _SUMMARY_TEXT[c], null_rule=None if c in always else NONE_HERE)
        for c, t in SUMMARY_SCHEMA.items()
    )


SUMMARY: Final = _table(
    "measure_summary",
    "One row per measure: distribution, outliers, missingness in the newest training week, and whether it is used.",
    ("measure",),
    *_summary_columns(),
)
CORRELATIONS: Final = _table(
    "measure_correlations",
    "One row per pair of measures: Spearman's rank correlation in the newest training week.",
    ("measure", "other_measure"),
    Column("measure", "text", "First measure."),
    Column("other_measure", "text", "Second measure."),
    _number(
        "correlation",
        "Rank correlation over clients with both values.",
        null="null where not computable",
        low=-1,
        high=1,
    ),
)
_UNJUDGED: Final = "null where the cut cannot be judged"
SELECTION: Final = _table(
    "segment_selection",
    "One row per fit and number of segments tried: what the judges said and which was chosen.",
    ("fit_date", "k"),
    FIT,
    _count("k", "Number of segments."),
    _number("inertia", "Sum of squared distances to the centroid."),
    _number("silhouette", "Mean silhouette on a sample, -1 to 1.", null=_UNJUDGED, low=-1, high=1),
    _number("calinski_harabasz", "Variance between over variance within; more is better.", null=_UNJUDGED),
    _number("davies_bouldin", "Mean likeness of a segment and its nearest; less is better.", null=_UNJUDGED),
    _number("stability", "Mean adjusted Rand index over bootstrap resamples.", low=-1, high=1),
    _number("stability_low", "5th percentile of it.", low=-1, high=1),
    _ratio("smallest_share_ratio", "Share of clients of the smallest segment."),
    _number(
        "mixture_bic", "BIC of a Gaussian mixture with as many components.", null="null but at the newest fit", low=None
    ),
    _number("mean_rank", "Mean rank over the judges, 1 is best.", null="null where the cut does not qualify"),
    Column("is_knee", "boolean", "Kneedle's knee of the inertia curve."),
    Column("is_qualified", "boolean", "Stable enough and without tiny segments."),
    Column("is_chosen", "boolean", "The number of segments in force."),
)
FITS: Final = _table(
    "segment_fits",
    "One row per fit and segment: size, stability and the earlier segment it continues.",
    ("fit_date", "segment_id"),
    FIT,
    SEGMENT,
    _count("clients_count", "Clients of the segment in the week of the fit."),
    _ratio("share_ratio", "Share of the clients."),
    _ratio("stability", "Mean greatest Jaccard overlap over bootstrap resamples.", "null where not measured"),
    _number(
        "match_distance",
        "Distance to the predecessor's centroid, root mean square per scaled measure.",
        null="no predecessor",
    ),
    Column("is_new", "boolean", "No earlier segment is near enough to continue."),
    Column("reason", "text", "Why this number of segments."),
)
MEMBERSHIPS: Final = _table(
    "segment_memberships",
    "One row per client and as-of date from the first fit on: the segment the client is in.",
    ("client_id", "as_of_date"),
    CLIENT,
    AS_OF,
    FIT,
    SEGMENT,
    _number("centroid_distance", "Distance to the segment's centre, root mean square per scaled measure."),
    Column("is_unusual", "boolean", "No thick region of clients is near: noise of the density fit."),
)
METHODS: Final = _table(
    "method_comparison",
    "One row per other method: how many groups it finds and how far it agrees with the segments.",
    ("method",),
    Column("method", "text", "gaussian_mixture, hdbscan or dbscan."),
    _count("clusters_count", "Groups found."),
    _ratio("noise_share_ratio", "Share of clients in no group."),
    _number("agreement", "Adjusted Rand index with the segments.", null="not compared", low=-1, high=1),
    Column("note", "text", "What to know about it."),
)
MAP: Final = _table(
    "segment_map",
    "One row per client of a sample of the newest fit: place on the map of the first two principal components.",
    ("client_id",),
    CLIENT,
    SEGMENT,
    _number("x", "First principal component.", low=None),
    _number("y", "Second principal component; 0 where there is only one.", low=None),
    Column("is_unusual", "boolean", "Noise of the density fit."),
)
DENSITY: Final = _table(
    "density_curve",
    "One row per client of the density sample, by rising distance to its n-th neighbour: where the radius is read.",
    ("rank",),
    _count("rank", "Place in the curve, from 0."),
    _number("distance", "Distance to the n-th nearest neighbour, scaled measures."),
    Column("is_radius", "boolean", "The point of the greatest bend: DBSCAN's radius."),
)
PERSONAS: Final = _table(
    "segment_personas",
    "One row per segment of the newest fit: its name, risk grade and suggested treatment.",
    ("segment_id",),
    SEGMENT,
    Column("persona", "text", "Name by rule from the strongest traits."),
    Column("traits", "text", "All trait words, strongest first; empty where it is average."),
    Column("grade", "text", "Risk grade from training weeks.", allowed=("low", "ordinary", "elevated")),
    _number("lift", "STR rate over the overall rate in training weeks, shrunk.", null="no STR in training weeks"),
    Column("treatment", "text", "What is suggested to do, in words."),
)
TRAITS: Final = _table(
    "segment_traits",
    "One row per segment of the newest fit and measure: effect sizes against all other clients.",
    ("segment_id", "measure"),
    SEGMENT,
    Column("measure", "text", "Measure."),
    Column("label", "text", "What it is, for people."),
    _number("median", "Median in the segment.", null=NONE_HERE, low=None),
    _number("rest_median", "Median of all others.", null=NONE_HERE, low=None),
    _number(
        "cohens_d", "Difference of means in pooled standard deviations.", null="a side has fewer than two", low=None
    ),
    _number(
        "cliffs_delta",
        "Chance to be above a client of the rest less the chance to be under.",
        null=NONE_HERE,
        low=-1,
        high=1,
    ),
    Column("trait", "text", "Word of the trait.", null_rule="the effect is small"),
)
CATEGORIES: Final = _table(
    "segment_categories",
    "One row per segment of the newest fit, profile column and value: its share in the segment and in the rest.",
    ("segment_id", "column", "value"),
    SEGMENT,
    Column("column", "text", "Profile column."),
    Column("value", "text", "Value; (missing) where unknown."),
    _count("clients_count", "Clients of the segment with the value."),
    _ratio("share_ratio", "Share of the segment."),
    _ratio("rest_share_ratio", "Share of all others.", "there are no others"),
)
RISK: Final = _table(
    "segment_risk",
    "One row per split, grouping and group: clients, STRs and bands, each client once a split.",
    ("split", "grouping", "group"),
    Column("split", "text", "Part of the calendar.", allowed=SPLITS),
    Column("grouping", "text", "By segment, by density, or all.", allowed=("segment", "density", "all")),
    Column("group", "text", "Segment id, usual or unusual, or all."),
    _count("clients_count", "Clients measured."),
    _count("str_count", "Clients with an STR within the horizon of a week of the split."),
    _ratio("str_ratio", "Share of clients with an STR."),
    _ratio("str_low_ratio", "Lower end of Wilson's 95 % interval.", "no client"),
    _ratio("str_high_ratio", "Upper end of Wilson's 95 % interval.", "no client"),
    *(_ratio(f"{b.lower()}_ratio", f"Share of clients in band {b}.", "no band known") for b in BANDS),
)
POLICY_RESULTS: Final = _table(
    "policy_results",
    "One row per policy, held-out split and measure: what the policy would have done, with 95 % intervals.",
    ("policy", "split", "measure"),
    Column("policy", "text", "configured, or the published split.", allowed=("configured", "published_split")),
    Column("split", "text", "Held-out part of the calendar.", allowed=SPLITS),
    Column("measure", "text", "<treatment>_ratio: share of client-weeks; strs_<...>_ratio: share of STRs."),
    _ratio("value", "Share.", "no STR in the split"),
    _ratio("low", "Lower end of the interval.", "no STR in the split"),
    _ratio("high", "Upper end of the interval.", "no STR in the split"),
    _count("count", "Client-weeks, or STRs."),
)
POLICY_CURVE: Final = _table(
    "policy_curve",
    "One row per ordering, held-out split and share automated: STRs that would have gone through unseen.",
    ("ordering", "split", "automated_ratio"),
    Column("ordering", "text", "What the safest are chosen by.", allowed=("bcrs", "bcrs_and_segment")),
    Column("split", "text", "Held-out part of the calendar.", allowed=SPLITS),
    _ratio("automated_ratio", "Share of client-weeks let through."),
    _ratio("unseen_ratio", "Share of STRs all of whose weeks were let through.", "no STR in the split"),
    _ratio("unseen_low_ratio", "Lower end of Wilson's 95 % interval.", "no STR in the split"),
    _ratio("unseen_high_ratio", "Upper end of Wilson's 95 % interval.", "no STR in the split"),
    _count("unseen_count", "STRs unseen."),
    _count("str_count", "STRs of the split."),
)
POLICY_CELLS: Final = _table(
    "policy_cells",
    "One row per segment and band: the treatment the policy sets.",
    ("segment_id", "band"),
    SEGMENT,
    Column("grade", "text", "Risk grade of the segment.", allowed=("low", "ordinary", "elevated")),
    Column("band", "text", "Band.", allowed=BANDS),
    Column("treatment", "text", "Treatment of usual clients.", allowed=TREATMENTS),
    _count("client_weeks_count", "Held-out client-weeks of the cell."),
)
CREDIT_SEGMENTS: Final = _table(
    "credit_segments",
    "One row per segment of the credit customers; empty where no credit folder was given.",
    ("segment_id",),
    SEGMENT,
    _count("clients_count", "Customers."),
    _ratio("share_ratio", "Share of the customers."),
    _number("median_age_years", "Median age.", "years", NONE_HERE),
    _number("median_credit_amount_dm", "Median credit amount, Deutsche Mark.", "DM", NONE_HERE),
    _number("median_duration_months", "Median duration.", "months", NONE_HERE),
    Column("top_purpose", "text", "Most frequent purpose.", null_rule=NONE_HERE),
    Column("persona", "text", "Name by rule from traits and purpose."),
    _ratio("stability", "Mean greatest Jaccard overlap over bootstrap resamples.", "null where not measured"),
)
CREDIT_CUSTOMERS: Final = _table(
    "credit_customers",
    "One row per credit customer: segment and who decides; empty where no credit folder was given.",
    ("customer_id",),
    Column("customer_id", "text", "Record number in the file."),
    SEGMENT,
    Column("is_unusual", "boolean", "Noise of the density fit."),
    Column("treatment", "text", "Who decides on an application.", allowed=TREATMENTS),
)
