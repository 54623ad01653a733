{{ config(materialized='view') }}

select
    alert_id,
    client_id,
    outcome,
    decided_by,
    decided_at,
    _delivery_id
from {{ ref('stg_dispositions_parsed') }}
where reasons is null
