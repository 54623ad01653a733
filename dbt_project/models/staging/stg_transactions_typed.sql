{{ config(materialized='view') }}

{# Row by row only: no join, no window. Consumers filter to new deliveries and the filter reaches the raw scan. #}
with

source as (

    select
        _file,
        _row,
        _delivery_id,
        _known_floor,
        txn_id,
        client_id,
        txn_date,
        amount,
        direction,
        counterparty_id,
        counterparty_country,
        counterparty_sector,
        channel,
        currency,
        ingested_at
    from {{ source('raw', 'transactions') }}

),

trimmed as (

    select
        _file,
        _row,
        _delivery_id,
        cast(_known_floor as date) as _known_floor,
        {{ clean_id('txn_id') }} as txn_id,
        {{ clean_id('client_id') }} as client_id,
        {{ clean_id('counterparty_id') }} as counterparty_id,
        {{ clean_text('txn_date') }} as txn_date_text,
        {{ clean_text('amount') }} as amount_text,
        {{ clean_text('direction') }} as direction_text,
        {{ clean_text('counterparty_country') }} as country_text,
        {{ clean_text('counterparty_sector') }} as sector_text,
        {{ clean_text('channel') }} as channel_text,
        {{ clean_text('currency') }} as currency_text,
        {{ clean_text('ingested_at') }} as ingested_text
    from source

),

final as (

    select
        _file,
        _row,
        _delivery_id,
        _known_floor,
        txn_id,
        client_id,
        counterparty_id,
        txn_date_text,
        amount_text,
        direction_text,
        country_text,
        sector_text,
        channel_text,
        currency_text,
        ingested_text,
        try_cast(amount_text as decimal(18, 2)) as amount,
        try_cast(amount_text as double) as amount_unrounded,
        {{ parse_timestamp('txn_date_text') }} as txn_at,
        {{ parse_date('ingested_text') }} as ingested_date,
        length(txn_date_text) > 10 as has_time_part
    from trimmed

)

select * from final
