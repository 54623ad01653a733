with

weeks as (

    select as_of_date from {{ source('intermediate', 'requested_weeks') }}

),

spine as (

    select
        starts.client_id,
        weeks.as_of_date
    from {{ ref('int_client_starts') }} as starts
    inner join weeks on starts.spine_from_date < weeks.as_of_date

),

final as (

    select
        spine.client_id,
        profiles.industry,
        profiles.occupation,
        profiles.geography,
        profiles.size_bucket,
        profiles.risk_rating,
        profiles.expected_turnover,
        profiles.country_risk_score,
        profiles.industry_risk_score,
        -- a relationship that begins later has no age yet
        case
            when profiles.onboarding_date < spine.as_of_date
                then cast(spine.as_of_date - profiles.onboarding_date as integer)
        end as account_age_days,
        cast(spine.as_of_date - firsts.first_txn_date as integer) as history_days,
        profiles.is_pep,
        profiles.is_sanctioned,
        spine.as_of_date,
        firsts.first_txn_date
    from spine
    -- coalesce and not `is null or`: an OR in an outer join's condition makes DuckDB compare every pair of rows
    left join {{ ref('int_profile_versions') }} as profiles
        on spine.client_id = profiles.client_id
        and profiles.known_from < spine.as_of_date
        and coalesce(profiles.superseded_from, date '9999-12-31') >= spine.as_of_date
    left join {{ ref('int_client_first_txns') }} as firsts
        on spine.client_id = firsts.client_id
        and firsts.known_from < spine.as_of_date
        and coalesce(firsts.superseded_from, date '9999-12-31') >= spine.as_of_date

)

select * from final
