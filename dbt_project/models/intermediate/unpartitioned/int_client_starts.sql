with

first_transactions as (

    select
        client_id,
        min(greatest(txn_date, known_date)) as first_txn_known_date
    from {{ ref('stg_transactions') }}
    group by client_id

),

first_profiles as (

    select
        client_id,
        min(greatest(onboarding_date, known_from)) filter (where onboarding_date is not null) as onboarding_known_date,
        min(greatest(coalesce(onboarding_date, known_from), known_from)) as profile_known_date
    from {{ ref('int_profile_versions') }}
    group by client_id

),

final as (

    select
        client_id,
        least(first_profiles.onboarding_known_date, first_transactions.first_txn_known_date) as spine_from_date,
        least(first_profiles.profile_known_date, first_transactions.first_txn_known_date) as client_from_date
    from first_transactions
    full join first_profiles using (client_id)

)

select * from final
