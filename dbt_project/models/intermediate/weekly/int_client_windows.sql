{#-
  Additive windows in the form measured fastest: the daily table, sorted by client, joined once to the as-of dates, sums
  of CASE (FILTER is slower), one integer group key, money in whole cents (exact like decimals, and half their time).
  Point in time: a day counts for an as-of date from the Monday after it was
  known. Amounts are positive, so what is known of a day or week only grows, and late rows are handled by increments
  instead of by versions. The windows are part of the column names, hence no knobs.
-#}
{%- set windows = [7, 30, 90] -%}
{%- set directions = ['inflow', 'outflow'] -%}
{%- set baseline_days = 364 -%}
{%- set baseline_gap_days = 28 -%}
with

weeks as (

    select
        as_of_date,
        row_number() over (order by as_of_date) - 1 as week_number,
        count(*) over () as weeks_count
    from {{ source('intermediate', 'requested_weeks') }}

),

clients as (

    select
        client_id,
        row_number() over (order by client_id) - 1 as client_number
    from (
        select distinct client_id
        from {{ ref('int_client_weeks') }}
        where as_of_date in (select as_of_date from weeks)
    )

),

spine as (

    select
        s.client_id,
        s.as_of_date,
        s.first_txn_date,
        clients.client_number * weeks.weeks_count + weeks.week_number as pair_number
    from {{ ref('int_client_weeks') }} as s
    inner join weeks on s.as_of_date = weeks.as_of_date
    inner join clients on s.client_id = clients.client_id

),

days as (

    select
        clients.client_number,
        d.inflow_count,
        d.outflow_count,
        cast(d.inflow_sum_base * 100 as bigint) as inflow_sum_cents,
        cast(d.outflow_sum_base * 100 as bigint) as outflow_sum_cents,
        cast(d.inflow_max_base * 100 as bigint) as inflow_max_cents,
        cast(d.outflow_max_base * 100 as bigint) as outflow_max_cents,
        cast(d.cash_inflow_sum_base * 100 as bigint) as cash_inflow_sum_cents,
        cast(d.cash_outflow_sum_base * 100 as bigint) as cash_outflow_sum_cents,
        d.txn_date,
        -- the first as-of date that may see the row
        cast(date_trunc('week', greatest(d.txn_date, d.known_date)) as date) + 7 as visible_week
    from {{ ref('int_client_days') }} as d
    inner join clients on d.client_id = clients.client_id
    where d.txn_date >= (select min(as_of_date) from weeks) - {{ baseline_days }}
        and d.txn_date < (select max(as_of_date) from weeks)

),

recent_days as (

    select
        *,
        -- the day's turnover as known with this row, and whether this row is the first sign of the day
        cast(sum(inflow_sum_cents + outflow_sum_cents) over known_before as bigint) as day_sum_cents,
        row_number() over known_before = 1 as is_first_of_day
    from days
    where txn_date >= (select min(as_of_date) from weeks) - {{ windows | max }}
    window known_before as (
        partition by client_number, txn_date
        order by visible_week
        rows between unbounded preceding and current row
    )
    -- a client's rows side by side: its few groups stay in the cache while they are summed
    order by client_number, txn_date

),

window_pairs as (

    select
        cast(as_of_date - age_days as date) as txn_date,
        as_of_date,
        week_number,
        weeks_count,
        age_days
    from weeks
    cross join (select cast(unnest(range(1, {{ (windows | max) + 1 }})) as integer) as age_days)

),

windowed as (

    select
        d.client_number * p.weeks_count + p.week_number as pair_number,
        {%- for w in windows %}
        {%- for d in directions %}
        sum(case when p.age_days <= {{ w }} then d.{{ d }}_count else 0 end) as {{ d }}_count_{{ w }}d,
        sum(case when p.age_days <= {{ w }} then d.{{ d }}_sum_cents else 0 end) as {{ d }}_sum_{{ w }}d_cents,
        max(case when p.age_days <= {{ w }} then d.{{ d }}_max_cents end) as {{ d }}_max_{{ w }}d_cents,
        sum(case when p.age_days <= {{ w }} then d.cash_{{ d }}_sum_cents else 0 end) as cash_{{ d }}_sum_{{ w }}d_cents,
        {%- endfor %}
        sum(case when p.age_days <= {{ w }} and d.is_first_of_day then 1 else 0 end) as active_days_{{ w }}d_count,
        max(case when p.age_days <= {{ w }} then d.day_sum_cents end) as busiest_day_sum_{{ w }}d_cents
        {{- ',' if not loop.last }}
        {%- endfor %}
    from recent_days as d
    inner join window_pairs as p on d.txn_date = p.txn_date and d.visible_week <= p.as_of_date
    group by all

),

-- Calendar weeks of the baseline. Every as-of date is a Monday, so weeks are the same for all of them. A week enters a
-- baseline {{ baseline_gap_days // 7 }} weeks after its end; lateness shorter than that changes nothing.
week_buckets as (

    select
        client_number,
        cast(date_trunc('week', txn_date) as date) as week_start,
        greatest(visible_week, cast(date_trunc('week', txn_date) as date) + {{ baseline_gap_days + 7 }})
            as visible_week,
        cast({{ from_cents('sum(inflow_sum_cents)') }} as decimal(18, 2)) as inflow_sum_base,
        cast({{ from_cents('sum(outflow_sum_cents)') }} as decimal(18, 2)) as outflow_sum_base,
        cast(sum(inflow_count + outflow_count) as bigint) as txn_count
    from days
    where txn_date < (select max(as_of_date) from weeks) - {{ baseline_gap_days }}
    group by all

),

-- a client's first week is left out unless it began on its Monday: a part of a week is no week
first_weeks as (

    select
        clients.client_number,
        cast(date_trunc('week', f.first_txn_date) as date) as week_start,
        min(f.known_from) as partial_from,
        max(coalesce(f.superseded_from, date '9999-12-31')) as partial_until
    from {{ ref('int_client_first_txns') }} as f
    inner join clients on f.client_id = clients.client_id
    where isodow(f.first_txn_date) <> 1
    group by all

),

week_increments as (

    select
        b.*,
        coalesce(sum(b.inflow_sum_base) over known_before, 0) as inflow_before,
        coalesce(sum(b.outflow_sum_base) over known_before, 0) as outflow_before,
        cast(coalesce(sum(b.txn_count) over known_before, 0) as bigint) as count_before,
        f.partial_from,
        f.partial_until
    from week_buckets as b
    left join first_weeks as f on b.client_number = f.client_number and b.week_start = f.week_start
    window known_before as (
        partition by b.client_number, b.week_start
        order by b.visible_week
        rows between unbounded preceding and 1 preceding
    )

),

-- x² grows by (p + x)² - p² = x (2 p + x) when x becomes known after p
squared as (

    select
        client_number,
        week_start,
        visible_week,
        partial_from,
        partial_until,
        inflow_sum_base,
        outflow_sum_base,
        txn_count,
        cast(inflow_sum_base as decimal(19, 2)) * cast(2 * inflow_before + inflow_sum_base as decimal(19, 2))
            as inflow_square,
        cast(outflow_sum_base as decimal(19, 2)) * cast(2 * outflow_before + outflow_sum_base as decimal(19, 2))
            as outflow_square,
        txn_count * (2 * count_before + txn_count) as count_square
    from week_increments
    order by client_number, week_start

),

baseline_pairs as (

    select
        cast(as_of_date - weeks_back * 7 as date) as week_start,
        as_of_date,
        week_number,
        weeks_count
    from weeks
    cross join (
        select cast(unnest(range({{ baseline_gap_days // 7 + 1 }}, {{ baseline_days // 7 + 1 }})) as integer) as weeks_back
    )

),

baselines as (

    select
        w.client_number * p.weeks_count + p.week_number as pair_number,
        sum(w.inflow_sum_base) as baseline_inflow_sum_base,
        sum(w.outflow_sum_base) as baseline_outflow_sum_base,
        sum(w.inflow_square) as baseline_inflow_sumsq_base2,
        sum(w.outflow_square) as baseline_outflow_sumsq_base2,
        sum(w.txn_count) as baseline_txn_count,
        sum(w.count_square) as baseline_txn_sumsq_count2
    from squared as w
    inner join baseline_pairs as p on w.week_start = p.week_start and w.visible_week <= p.as_of_date
    where w.partial_from is null or p.as_of_date <= w.partial_from or p.as_of_date > w.partial_until
    group by all

),

final as (

    select
        spine.client_id,
        {%- for w in windows %}
        {%- for d in directions %}
        cast(coalesce(windowed.{{ d }}_count_{{ w }}d, 0) as bigint) as {{ d }}_count_{{ w }}d,
        {%- endfor %}
        {%- endfor %}
        {%- for w in windows %}
        cast(coalesce(windowed.active_days_{{ w }}d_count, 0) as bigint) as active_days_{{ w }}d_count,
        {%- endfor %}
        {%- for w in windows %}
        {%- for d in directions %}
        {{ from_cents('coalesce(windowed.' ~ d ~ '_sum_' ~ w ~ 'd_cents, 0)') }} as {{ d }}_sum_{{ w }}d_base,
        cast({{ from_cents('windowed.' ~ d ~ '_max_' ~ w ~ 'd_cents') }} as decimal(18, 2)) as {{ d }}_max_{{ w }}d_base,
        {{ from_cents('coalesce(windowed.cash_' ~ d ~ '_sum_' ~ w ~ 'd_cents, 0)') }} as cash_{{ d }}_sum_{{ w }}d_base,
        {%- endfor %}
        cast({{ from_cents('coalesce(windowed.busiest_day_sum_' ~ w ~ 'd_cents, 0)') }} as decimal(18, 2))
            as busiest_day_sum_{{ w }}d_base,
        {%- endfor %}
        cast(
            case
                when spine.first_txn_date is null then 0
                else greatest(
                    0,
                    (
                        spine.as_of_date - {{ baseline_gap_days }}
                        - greatest(spine.first_txn_date, spine.as_of_date - {{ baseline_days }})
                    ) // 7
                )
            end as integer
        ) as baseline_weeks_count,
        cast(coalesce(baselines.baseline_inflow_sum_base, 0) as decimal(38, 2)) as baseline_inflow_sum_base,
        cast(coalesce(baselines.baseline_outflow_sum_base, 0) as decimal(38, 2)) as baseline_outflow_sum_base,
        cast(coalesce(baselines.baseline_inflow_sumsq_base2, 0) as decimal(38, 4)) as baseline_inflow_sumsq_base2,
        cast(coalesce(baselines.baseline_outflow_sumsq_base2, 0) as decimal(38, 4)) as baseline_outflow_sumsq_base2,
        cast(coalesce(baselines.baseline_txn_count, 0) as bigint) as baseline_txn_count,
        cast(coalesce(baselines.baseline_txn_sumsq_count2, 0) as bigint) as baseline_txn_sumsq_count2,
        spine.as_of_date
    from spine
    left join windowed on spine.pair_number = windowed.pair_number
    left join baselines on spine.pair_number = baselines.pair_number

)

select * from final
