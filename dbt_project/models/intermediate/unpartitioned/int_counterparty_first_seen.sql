with

final as (

    select
        client_id,
        counterparty_id,
        min(greatest(txn_date, known_date)) as first_known_date
    from {{ ref('int_edge_days') }}
    group by client_id, counterparty_id

)

select * from final
