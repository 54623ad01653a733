with

typed as (

    select
        r._file,
        r._row,
        r._delivery_id,
        {{ clean_text('r.currency') }} as currency_text,
        {{ clean_text('r.rate_date') }} as date_text,
        {{ clean_text('r.rate_to_base') }} as rate_text,
        a.currency,
        {{ parse_date(clean_text('r.rate_date')) }} as rate_date,
        try_cast({{ clean_text('r.rate_to_base') }} as double) as rate_unrounded,
        try_cast({{ clean_text('r.rate_to_base') }} as decimal(20, 12)) as rate_to_base
    from {{ source('raw', 'fx_rates') }} as r
    left join {{ ref('currency_aliases') }} as a on {{ alias_key(clean_text('r.currency')) }} = a.alias

),

judged as (

    select
        *,
        {{ findings([
            ["currency_text is null", "currency", "currency_text", "missing_currency"],
            ["currency_text is not null and currency is null", "currency", "currency_text", "unknown_currency"],
            ["date_text is null", "rate_date", "date_text", "missing_rate_date"],
            ["date_text is not null and rate_date is null", "rate_date", "date_text", "unparsable_rate_date"],
            ["rate_text is null", "rate_to_base", "rate_text", "missing_rate"],
            ["rate_text is not null and rate_unrounded is null", "rate_to_base", "rate_text", "unparsable_rate"],
            ["rate_unrounded is not null and (not isfinite(rate_unrounded) or rate_unrounded < "
                ~ var("fx_rate_minimum") ~ " or rate_unrounded > " ~ var("fx_rate_maximum") ~ ")",
                "rate_to_base", "rate_text", "implausible_rate"],
        ]) }} as own_reasons
    from typed

),

ranked as (

    select
        *,
        row_number() over by_day as copy_number,
        first_value(rate_to_base) over by_day as kept_rate
    from judged
    window by_day as (
        partition by currency, rate_date order by own_reasons is not null, _delivery_id, _file, _row
    )

),

final as (

    select
        currency,
        rate_to_base,
        rate_date,
        case
            when own_reasons is null and copy_number > 1 and rate_to_base is not distinct from kept_rate
                then [{{ finding('rate_date', 'date_text', 'duplicate_rate_identical') }}]
            when own_reasons is null and copy_number > 1
                then [{{ finding('rate_date', 'date_text', 'duplicate_rate_conflicting') }}]
            else own_reasons
        end as reasons,
        _file,
        _row,
        _delivery_id
    from ranked

)

select * from final
