{{ config(materialized='incremental', incremental_strategy='append', on_schema_change='fail') }}

with

transactions as (

    select
        client_id,
        direction = 'inbound' as is_inbound,
        coalesce(channel in ('cash', 'atm'), false) as is_cash,
        amount_base,
        txn_date,
        known_date,
        _delivery_id
    from {{ ref('int_transactions') }}
    where {{ new_deliveries() }}

),

final as (

    select
        client_id,
        count(case when is_inbound then 1 end) as inflow_count,
        count(case when not is_inbound then 1 end) as outflow_count,
        cast(sum(case when is_inbound then amount_base else 0 end) as decimal(18, 2)) as inflow_sum_base,
        cast(sum(case when not is_inbound then amount_base else 0 end) as decimal(18, 2)) as outflow_sum_base,
        max(case when is_inbound then amount_base end) as inflow_max_base,
        max(case when not is_inbound then amount_base end) as outflow_max_base,
        cast(sum(case when is_inbound and is_cash then amount_base else 0 end) as decimal(18, 2))
            as cash_inflow_sum_base,
        cast(sum(case when not is_inbound and is_cash then amount_base else 0 end) as decimal(18, 2))
            as cash_outflow_sum_base,
        txn_date,
        known_date,
        _delivery_id
    from transactions
    group by client_id, txn_date, known_date, _delivery_id

)

select * from final
