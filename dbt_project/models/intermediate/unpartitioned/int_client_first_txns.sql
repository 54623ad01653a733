{# Late rows can move a client's first transaction back; each version counts only once it was known. #}
with

visible as (

    select
        client_id,
        greatest(txn_date, known_date) as known_from,
        min(txn_date) as txn_date
    from {{ ref('int_client_days') }}
    group by all

),

firsts as (

    select
        client_id,
        min(known_from) as known_from,
        arg_min(txn_date, known_from) as first_txn_date
    from visible
    group by client_id

),

-- only rows that came late can lie before the first one known
late as (

    select
        visible.client_id,
        visible.known_from,
        visible.txn_date as first_txn_date
    from visible
    inner join firsts on visible.client_id = firsts.client_id
    where visible.txn_date < firsts.first_txn_date

),

candidates as (

    select client_id, known_from, first_txn_date from firsts
    union all
    select client_id, known_from, first_txn_date from late

),

lowest as (

    select
        *,
        min(first_txn_date) over (
            partition by client_id
            order by known_from
            rows between unbounded preceding and 1 preceding
        ) as previous_first_txn_date
    from candidates

),

final as (

    select
        client_id,
        first_txn_date,
        known_from,
        lead(known_from) over (partition by client_id order by known_from) as superseded_from
    from lowest
    where previous_first_txn_date is null or first_txn_date < previous_first_txn_date

)

select * from final
