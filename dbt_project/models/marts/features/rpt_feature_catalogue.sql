with

final as (

    select
        feature,
        pillar,
        meaning,
        formula,
        unit,
        dtype,
        null_rule,
        source,
        requires,
        histogram_counts,
        cast(window_days as bigint) as window_days,
        cast(row_count as bigint) as row_count,
        cast(null_ratio as double) as null_ratio,
        cast(minimum as double) as minimum,
        cast(p05 as double) as p05,
        cast(median as double) as median,
        cast(p95 as double) as p95,
        cast(maximum as double) as maximum,
        cast(mean as double) as mean,
        cast(histogram_low as double) as histogram_low,
        cast(histogram_high as double) as histogram_high
    from {{ source('features', 'feature_catalogue') }}

)

select * from final
