{{ config(materialized='view') }}

select
    currency,
    rate_to_base,
    rate_date,
    _delivery_id
from {{ ref('stg_fx_rates_parsed') }}
where reasons is null
