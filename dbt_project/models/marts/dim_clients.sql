with

profiles as (

    select *
    from {{ ref('int_profile_versions') }}
    qualify row_number() over (partition by client_id order by valid_from desc) = 1

),

activity as (

    select
        client_id,
        sum(inflow_count + outflow_count) as txn_count,
        min(txn_date) as first_txn_date,
        max(txn_date) as last_txn_date
    from {{ ref('int_client_days') }}
    group by client_id

),

reports as (

    select
        client_id,
        count(*) as str_count
    from {{ ref('stg_str_labels') }}
    where is_str
    group by client_id

),

final as (

    select
        clients.client_id,
        profiles.industry,
        profiles.occupation,
        profiles.geography,
        profiles.size_bucket,
        profiles.risk_rating,
        profiles.expected_turnover as expected_turnover_base,
        profiles.country_risk_score,
        profiles.industry_risk_score,
        cast(coalesce(activity.txn_count, 0) as bigint) as txn_count,
        cast(coalesce(reports.str_count, 0) as bigint) as str_count,
        profiles.is_pep,
        profiles.is_sanctioned,
        profiles.client_id is not null as has_profile,
        profiles.onboarding_date,
        activity.first_txn_date,
        activity.last_txn_date
    from {{ ref('int_client_starts') }} as clients
    left join profiles on clients.client_id = profiles.client_id
    left join activity on clients.client_id = activity.client_id
    left join reports on clients.client_id = reports.client_id

)

select * from final
