{{ config(materialized='incremental', incremental_strategy='append', on_schema_change='fail') }}

with

typed as (

    select
        *,
        cast(txn_at as date) as txn_date,
        -- without a time of arrival a row counts as known on its own day, or when its delivery can first have come
        coalesce(ingested_date, greatest(cast(txn_at as date), _known_floor)) as known_date
    from {{ ref('stg_transactions_typed') }}
    where {{ new_deliveries() }}

),

dataset as (

    select base_currency from {{ source('raw', 'dataset') }}

),

-- A file of midnights gives dates, not times. The first real time of a file is compared with each row's own day, so
-- that a later row with a time cannot change what was said of an earlier one.
timed_files as (

    select
        _delivery_id,
        _file,
        min(greatest(cast(txn_at as date), coalesce(ingested_date, _known_floor))) as first_timed_date
    from {{ ref('stg_transactions_typed') }}
    where {{ new_deliveries() }} and has_time_part and cast(txn_at as time) <> time '00:00:00'
    group by all

),

-- Rates as of the day, per delivery: a delivery uses the rates that had come with it or before it, never later ones.
foreign_days as (

    select distinct
        t._delivery_id,
        a.currency,
        cast(t.txn_at as date) as txn_date
    from {{ ref('stg_transactions_typed') }} as t
    inner join {{ ref('currency_aliases') }} as a on {{ alias_key('t.currency_text') }} = a.alias
    cross join dataset as d
    where {{ new_deliveries('t._delivery_id') }} and a.currency <> d.base_currency and t.txn_at is not null

),

visible_rates as (

    select
        d._delivery_id,
        r.currency,
        r.rate_date,
        r.rate_to_base
    from (select distinct _delivery_id from foreign_days) as d
    inner join {{ ref('stg_fx_rates') }} as r on r._delivery_id <= d._delivery_id

),

rates as (

    select
        f._delivery_id,
        f.currency,
        f.txn_date,
        v.rate_to_base
    from foreign_days as f
    asof inner join visible_rates as v
        on f._delivery_id = v._delivery_id and f.currency = v.currency and f.txn_date >= v.rate_date

),

normalised as (

    select
        t.*,
        directions.direction,
        countries.iso2 as counterparty_country,
        sectors.sector as counterparty_sector,
        case when t.channel_text is not null then coalesce(channels.channel, 'other') end as channel,
        channels.channel is null and t.channel_text is not null as is_channel_unknown,
        currencies.currency,
        currencies.currency is null or currencies.currency = dataset.base_currency as is_base,
        rates.rate_to_base,
        case
            when currencies.currency is null or currencies.currency = dataset.base_currency then t.amount
            else try_cast(t.amount * rates.rate_to_base as decimal(18, 2))
        end as amount_base,
        t.has_time_part
        and (cast(t.txn_at as time) <> time '00:00:00' or coalesce(timed_files.first_timed_date <= t.txn_date, false))
            as is_time_known
    from typed as t
    cross join dataset
    left join {{ ref('direction_aliases') }} as directions on {{ alias_key('t.direction_text') }} = directions.alias
    left join {{ ref('country_aliases') }} as countries on {{ alias_key('t.country_text') }} = countries.alias
    left join {{ ref('sector_aliases') }} as sectors on {{ alias_key('t.sector_text') }} = sectors.alias
    left join {{ ref('channel_aliases') }} as channels on {{ alias_key('t.channel_text') }} = channels.alias
    left join {{ ref('currency_aliases') }} as currencies on {{ alias_key('t.currency_text') }} = currencies.alias
    left join timed_files on t._delivery_id = timed_files._delivery_id and t._file = timed_files._file
    left join rates
        on t._delivery_id = rates._delivery_id
        and currencies.currency = rates.currency
        and t.txn_date = rates.txn_date

),

final as (

    select
        -- a source without ids gets file and record number: the same file gives the same ids
        coalesce(
            txn_id, concat(_delivery_id, '-', regexp_extract(_file, '[^/\\]+$'), '-', _row)
        ) as txn_id,
        client_id,
        counterparty_id,
        counterparty_country,
        counterparty_sector,
        channel,
        currency,
        direction,
        amount,
        amount_base,
        is_time_known,
        txn_id is not null as has_source_txn_id,
        txn_at,
        txn_date,
        known_date,
        {{ findings([
            ["client_id is null", "client_id", "null::varchar", "missing_client_id"],
            ["txn_date_text is null", "txn_date", "txn_date_text", "missing_txn_date"],
            ["txn_date_text is not null and txn_at is null", "txn_date", "txn_date_text", "unparsable_txn_date"],
            ["not " ~ is_plausible_date("txn_date"), "txn_date", "txn_date_text", "implausible_txn_date"],
            ["amount_text is null", "amount", "amount_text", "missing_amount"],
            ["amount_text is not null and amount_unrounded is null", "amount", "amount_text", "unparsable_amount"],
            ["not isfinite(amount_unrounded)", "amount", "amount_text", "non_finite_amount"],
            ["isfinite(amount_unrounded) and amount_unrounded <= 0", "amount", "amount_text", "non_positive_amount"],
            ["amount_unrounded > 0 and amount = 0", "amount", "amount_text", "amount_under_one_cent"],
            ["isfinite(amount_unrounded) and amount_unrounded > " ~ var("amount_limit"), "amount", "amount_text",
                "absurd_amount"],
            ["direction_text is null", "direction", "direction_text", "missing_direction"],
            ["direction_text is not null and direction is null", "direction", "direction_text", "unknown_direction"],
            ["currency_text is not null and currency is null", "currency", "currency_text", "unknown_currency"],
            ["not is_base and rate_to_base is null and txn_date is not null", "currency", "currency_text",
                "no_fx_rate"],
            ["not is_base and amount > 0 and amount_base = 0", "amount", "amount_text",
                "amount_under_one_cent_in_base"],
            ["not is_base and rate_to_base is not null and amount is not null and (amount_base is null or amount_base > "
                ~ var("amount_limit") ~ ")", "amount", "amount_text", "absurd_amount_in_base"],
        ]) }} as reasons,
        {{ findings([
            ["country_text is not null and counterparty_country is null", "counterparty_country", "country_text",
                "unknown_country_set_null"],
            ["sector_text is not null and counterparty_sector is null", "counterparty_sector", "sector_text",
                "unknown_sector_set_null"],
            ["is_channel_unknown", "channel", "channel_text", "unknown_channel_set_other"],
            ["ingested_text is not null and ingested_date is null", "ingested_at", "ingested_text",
                "unparsable_ingested_at_ignored"],
        ]) }} as repairs,
        _file,
        _row,
        _delivery_id
    from normalised

)

select * from final
