{{ config(materialized='incremental', incremental_strategy='replace_weeks', on_schema_change='fail') }}

with

final as (

    select
        client_id,
        entity_id,
        path_ids,
        list_names,
        txn_ids,
        cast(path_hops as bigint) as path_hops,
        cast(busiest_partner_count as bigint) as busiest_partner_count,
        cast(txn_count as bigint) as txn_count,
        cast(txn_sum_base as double) as txn_sum_base,
        cast(as_of_date as date) as as_of_date,
        cast(listed_date as date) as listed_date
    from {{ source('features', 'blacklist_paths') }}
    where as_of_date in (select as_of_date from {{ source('intermediate', 'requested_weeks') }})

)

select * from final
