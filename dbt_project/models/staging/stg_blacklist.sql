{{ config(materialized='view') }}

select
    entity_id,
    entity_type,
    list_name,
    listing_reason,
    listed_date,
    _delivery_id
from {{ ref('stg_blacklist_parsed') }}
where reasons is null
