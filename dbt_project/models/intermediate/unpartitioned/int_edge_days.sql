{{ config(materialized='incremental', incremental_strategy='append', on_schema_change='fail') }}

with

final as (

    select
        client_id,
        counterparty_id,
        direction,
        count(*) as txn_count,
        cast(sum(amount_base) as decimal(18, 2)) as amount_sum_base,
        txn_date,
        known_date,
        _delivery_id
    from {{ ref('int_transactions') }}
    where {{ new_deliveries() }} and counterparty_id is not null
    group by client_id, counterparty_id, direction, txn_date, known_date, _delivery_id

)

select * from final
