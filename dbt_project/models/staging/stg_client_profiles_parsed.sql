with

source as (

    select
        *,
        {{ clean_text('industry') }} as industry_text,
        {{ clean_text('occupation') }} as occupation_text,
        {{ clean_text('expected_turnover') }} as turnover_text,
        {{ clean_text('geography') }} as geography_text,
        {{ clean_text('size_bucket') }} as size_text,
        {{ clean_text('onboarding_date') }} as onboarding_text,
        {{ clean_text('risk_rating') }} as rating_text,
        {{ clean_text('pep_flag') }} as pep_text,
        {{ clean_text('sanctions_flag') }} as sanctions_text,
        {{ clean_text('country_risk_score') }} as country_risk_text,
        {{ clean_text('industry_risk_score') }} as industry_risk_text,
        {{ clean_text('account_age_months') }} as age_text,
        {{ clean_text('valid_from') }} as valid_from_text
    from {{ source('raw', 'client_profiles') }}

),

typed as (

    select
        _file,
        _row,
        _delivery_id,
        cast(_known_floor as date) as _known_floor,
        {{ clean_id('client_id') }} as client_id,
        sectors.sector as industry,
        occupations.occupation,
        countries.iso2 as geography,
        sizes.size_bucket,
        risks.risk_rating,
        case
            when try_cast(turnover_text as double) between 0 and {{ var('amount_limit') }}
                then try_cast(turnover_text as decimal(18, 2))
        end as expected_turnover,
        case when try_cast(country_risk_text as double) between 0 and 100 then try_cast(country_risk_text as double) end
            as country_risk_score,
        case when try_cast(industry_risk_text as double) between 0 and 100 then try_cast(industry_risk_text as double) end
            as industry_risk_score,
        case when try_cast(age_text as double) between 0 and 1800 then cast(try_cast(age_text as double) as integer) end
            as account_age_months,
        {{ parse_flag('pep_text') }} as is_pep,
        {{ parse_flag('sanctions_text') }} as is_sanctioned,
        {{ parse_date('onboarding_text') }} as onboarding_date,
        {{ parse_date('valid_from_text') }} as valid_from_date,
        industry_text, occupation_text, turnover_text, geography_text, size_text, onboarding_text, rating_text,
        pep_text, sanctions_text, country_risk_text, industry_risk_text, age_text, valid_from_text
    from source
    left join {{ ref('sector_aliases') }} as sectors on {{ alias_key('industry_text') }} = sectors.alias
    left join {{ ref('occupation_aliases') }} as occupations on {{ alias_key('occupation_text') }} = occupations.alias
    left join {{ ref('country_aliases') }} as countries on {{ alias_key('geography_text') }} = countries.alias
    left join {{ ref('size_aliases') }} as sizes on {{ alias_key('size_text') }} = sizes.alias
    left join {{ ref('risk_aliases') }} as risks on {{ alias_key('rating_text') }} = risks.alias

),

dated as (

    select
        *,
        -- a snapshot without a date that comes later is valid from when it can first have been known
        coalesce(valid_from_date, _known_floor) as valid_from,
        -- a row that comes later cannot have been known before, whatever it says of its validity
        greatest(valid_from_date, _known_floor) as known_from,
        -- the age of the account at the date of the row gives the onboarding where no date is given
        case
            when {{ is_plausible_date('onboarding_date') }} then onboarding_date
            when onboarding_date is null
                then cast(valid_from_date - to_months(account_age_months) as date)
        end as onboarding
    from typed

),

judged as (

    select
        *,
        {{ findings([
            ["client_id is null", "client_id", "null::varchar", "missing_client_id"],
            ["valid_from_text is not null and valid_from_date is null", "valid_from", "valid_from_text",
                "unparsable_valid_from"],
        ]) }} as own_reasons
    from dated

),

ranked as (

    select
        *,
        row_number() over by_version as copy_number,
        first_value(
            row(industry, occupation, geography, size_bucket, risk_rating, expected_turnover, country_risk_score,
                industry_risk_score, is_pep, is_sanctioned, onboarding)
        ) over by_version as kept_values
    from judged
    window by_version as (
        partition by client_id, valid_from
        order by own_reasons is not null, _delivery_id, _file, _row
    )

),

final as (

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
        onboarding as onboarding_date,
        valid_from,
        known_from,
        case
            when own_reasons is null and copy_number > 1
                and row(industry, occupation, geography, size_bucket, risk_rating, expected_turnover,
                    country_risk_score, industry_risk_score, is_pep, is_sanctioned, onboarding)
                is not distinct from kept_values
                then [{{ finding('valid_from', 'valid_from_text', 'duplicate_profile_identical') }}]
            when own_reasons is null and copy_number > 1
                then [{{ finding('valid_from', 'valid_from_text', 'duplicate_profile_conflicting') }}]
            else own_reasons
        end as reasons,
        {{ findings([
            ["industry_text is not null and industry is null", "industry", "industry_text", "unknown_sector_set_null"],
            ["occupation_text is not null and occupation is null", "occupation", "occupation_text",
                "unknown_occupation_set_null"],
            ["turnover_text is not null and expected_turnover is null", "expected_turnover", "turnover_text",
                "unparsable_or_out_of_range_set_null"],
            ["geography_text is not null and geography is null", "geography", "geography_text",
                "unknown_country_set_null"],
            ["size_text is not null and size_bucket is null", "size_bucket", "size_text", "unknown_size_set_null"],
            ["rating_text is not null and risk_rating is null", "risk_rating", "rating_text",
                "unknown_rating_set_null"],
            ["pep_text is not null and is_pep is null", "pep_flag", "pep_text", "unparsable_flag_set_null"],
            ["sanctions_text is not null and is_sanctioned is null", "sanctions_flag", "sanctions_text",
                "unparsable_flag_set_null"],
            ["country_risk_text is not null and country_risk_score is null", "country_risk_score",
                "country_risk_text", "unparsable_or_out_of_range_set_null"],
            ["industry_risk_text is not null and industry_risk_score is null", "industry_risk_score",
                "industry_risk_text", "unparsable_or_out_of_range_set_null"],
            ["age_text is not null and account_age_months is null", "account_age_months", "age_text",
                "unparsable_or_out_of_range_set_null"],
            ["onboarding_text is not null and (onboarding_date is null or not "
                ~ is_plausible_date("onboarding_date") ~ ")", "onboarding_date", "onboarding_text",
                "unparsable_or_implausible_date_set_null"],
        ]) }} as repairs,
        _file,
        _row,
        _delivery_id
    from ranked

)

select * from final
