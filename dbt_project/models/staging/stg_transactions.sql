{{ config(materialized='view') }}

with

parsed as (

    select
        txn_id,
        client_id,
        counterparty_id,
        counterparty_country,
        counterparty_sector,
        channel,
        currency,
        direction,
        amount,
        amount_base,
        is_time_known,
        txn_at,
        txn_date,
        known_date,
        _file,
        _row,
        _delivery_id
    from {{ ref('stg_transactions_parsed') }}
    where reasons is null

),

final as (

    select parsed.*
    from parsed
    anti join {{ ref('stg_transaction_duplicates') }} as duplicates
        on parsed._delivery_id = duplicates._delivery_id
        and parsed._file = duplicates._file
        and parsed._row = duplicates._row

)

select * from final
