with

profiles as (

    select
        client_id,
        industry,
        occupation,
        geography,
        size_bucket,
        risk_rating,
        expected_turnover,
        country_risk_score,
        industry_risk_score,
        is_pep,
        is_sanctioned,
        onboarding_date,
        coalesce(valid_from, date '1900-01-01') as valid_from,
        coalesce(known_from, date '1900-01-01') as known_from
    from {{ ref('stg_client_profiles') }}

),

final as (

    select
        *,
        -- the first day on which any later version is known: from the day after, this one is out of date
        min(known_from) over (
            partition by client_id
            order by valid_from
            rows between 1 following and unbounded following
        ) as superseded_from
    from profiles

)

select * from final
