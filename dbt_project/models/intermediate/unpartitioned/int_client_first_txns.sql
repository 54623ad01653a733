{# Late rows can move a client's first transaction back; each version counts only once it was known. #}
with

days as (

    select
        client_id,
        greatest(txn_date, known_date) as known_from,
        txn_date
    from {{ ref('int_client_days') }}

),

first_known as (

    select
        client_id,
        min(known_from) as known_from
    from days
    group by client_id

),

firsts as (

    select
        days.client_id,
        days.known_from,
        min(days.txn_date) as first_txn_date
    from days
    inner join first_known on days.client_id = first_known.client_id and days.known_from = first_known.known_from
    group by all

),

-- only rows that came late can lie before the first one known
late as (

    select
        days.client_id,
        days.known_from,
        min(days.txn_date) as first_txn_date
    from days
    inner join firsts on days.client_id = firsts.client_id and days.txn_date < firsts.first_txn_date
    group by all

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
