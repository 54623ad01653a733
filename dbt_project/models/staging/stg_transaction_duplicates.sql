with

parsed as (

    select
        txn_id,
        client_id,
        counterparty_id,
        channel,
        currency,
        direction,
        amount,
        txn_at,
        reasons is not null as is_faulty,
        greatest(txn_date, known_date) as visible_date,
        _file,
        _row,
        _delivery_id
    from {{ ref('stg_transactions_parsed') }}
    where has_source_txn_id

),

-- a payment between two clients has a record on either side under one id, so an id is taken per direction;
-- hashes first: eight bytes an id keep the scan of a large history cheap, and the few candidates are then compared
candidates as (

    select hash(txn_id, direction) as txn_hash
    from {{ ref('stg_transactions_parsed') }}
    where has_source_txn_id
    group by all
    having count(*) > 1

),

ranked as (

    select
        parsed.*,
        -- a faulty copy must not push out a good one, nor one known later the one known first
        row_number() over by_id as copy_number,
        first_value(
            row(client_id, counterparty_id, channel, currency, direction, amount, txn_at)
        ) over by_id as kept_values
    from parsed
    where hash(parsed.txn_id, parsed.direction) in (select txn_hash from candidates)
    window by_id as (
        partition by parsed.txn_id, parsed.direction order by is_faulty, _delivery_id, visible_date, _file, _row
    )

),

final as (

    select
        txn_id,
        case
            when row(client_id, counterparty_id, channel, currency, direction, amount, txn_at)
                is not distinct from kept_values
                then 'duplicate_txn_id_identical'
            else 'duplicate_txn_id_conflicting'
        end as reason,
        _file,
        _row,
        _delivery_id
    from ranked
    where copy_number > 1

)

select * from final
