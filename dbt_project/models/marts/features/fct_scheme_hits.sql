{{ config(materialized='incremental', incremental_strategy='replace_weeks', on_schema_change='fail') }}

with

hits as (

    select *
    from {{ source('features', 'scheme_hits') }}
    where as_of_date in (select as_of_date from {{ source('intermediate', 'requested_weeks') }})

),

indicators as (

    select
        entry as indicator,
        meaning,
        evidence,
        source
    from {{ source('features', 'scheme_catalogue') }}
    where kind = 'threshold'

),

final as (

    select
        hits.client_id,
        hits.scheme,
        hits.indicator,
        indicators.meaning,
        indicators.evidence,
        indicators.source,
        hits.txn_ids,
        cast(hits.value as double) as indicator_value,
        cast(hits.threshold as double) as indicator_threshold,
        cast(hits.txn_count as bigint) as txn_count,
        cast(hits.as_of_date as date) as as_of_date
    from hits
    inner join indicators using (indicator)

)

select * from final
