{{ config(materialized='view') }}

select
    client_id,
    is_str,
    str_date,
    _delivery_id
from {{ ref('stg_str_labels_parsed') }}
where reasons is null
