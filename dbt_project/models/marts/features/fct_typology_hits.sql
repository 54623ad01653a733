{{ config(materialized='incremental', incremental_strategy='replace_weeks', on_schema_change='fail') }}

with

final as (

    select
        client_id,
        typology,
        measure,
        evidence,
        source,
        txn_ids,
        cast(strength_ratio as double) as strength_ratio,
        cast(value as double) as measure_value,
        cast(txn_count as bigint) as txn_count,
        cast(as_of_date as date) as as_of_date
    from {{ source('features', 'typology_hits') }}
    where as_of_date in (select as_of_date from {{ source('intermediate', 'requested_weeks') }})

)

select * from final
