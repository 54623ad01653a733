{{ config(
    materialized='incremental',
    incremental_strategy='delete+insert',
    unique_key=['txn_id', 'direction'],
    on_schema_change='fail'
) }}

{# New deliveries, and older rows whose counterparty was listed or became a client in the meantime. #}
with

listed as (

    select
        entity_id,
        min(listed_date) as listed_date
    from {{ ref('stg_blacklist') }}
    group by entity_id

),

arrived as (

    select * from {{ ref('stg_transactions') }} where {{ new_deliveries() }}

),

new_rows as (

    select
        arrived.txn_id,
        arrived.client_id,
        arrived.counterparty_id,
        arrived.counterparty_country,
        arrived.counterparty_sector,
        arrived.channel,
        arrived.currency,
        arrived.direction,
        arrived.amount,
        arrived.amount_base,
        -- a counterparty that becomes a client later is not one yet
        coalesce(counterparties.client_from_date <= arrived.txn_date, false) as is_counterparty_client,
        arrived.is_time_known,
        arrived.txn_at,
        arrived.txn_date,
        arrived.known_date,
        listed.listed_date as counterparty_listed_date,
        arrived._delivery_id
    from arrived
    left join listed on arrived.counterparty_id = listed.entity_id
    left join {{ ref('int_client_starts') }} as counterparties on arrived.counterparty_id = counterparties.client_id

),

{% if is_incremental() %}
changed_rows as (

    select existing.* replace (
        coalesce(counterparties.client_from_date <= existing.txn_date, false) as is_counterparty_client,
        listed.listed_date as counterparty_listed_date
    )
    from {{ this }} as existing
    left join listed on existing.counterparty_id = listed.entity_id
    left join {{ ref('int_client_starts') }} as counterparties on existing.counterparty_id = counterparties.client_id
    where existing.counterparty_listed_date is distinct from listed.listed_date
        or existing.is_counterparty_client
            is distinct from coalesce(counterparties.client_from_date <= existing.txn_date, false)

),
{% endif %}

final as (

    select * from new_rows
    {% if is_incremental() %}
    union all by name
    select * from changed_rows
    {% endif %}

)

select * from final
