with

final as (

    select
        scheme,
        entry,
        limit_name,
        kind,
        meaning,
        formula,
        limit_unit,
        reason,
        requires,
        evidence,
        source,
        cast(window_days as bigint) as window_days,
        cast(limit_value as double) as limit_value,
        cast(resolved_value as double) as resolved_value,
        cast(fired_ratio as double) as fired_ratio,
        cast(source_date as date) as source_date
    from {{ source('features', 'scheme_catalogue') }}

)

select * from final
