{{ quarantine(
    'client_profiles',
    ref('stg_client_profiles_parsed'),
    ['client_id', 'industry', 'occupation', 'expected_turnover', 'geography', 'size_bucket', 'onboarding_date',
     'risk_rating', 'pep_flag', 'sanctions_flag', 'country_risk_score', 'industry_risk_score', 'account_age_months',
     'valid_from']
) }}
