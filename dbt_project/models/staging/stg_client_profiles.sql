{{ config(materialized='view') }}

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
    valid_from,
    known_from,
    _delivery_id
from {{ ref('stg_client_profiles_parsed') }}
where reasons is null
