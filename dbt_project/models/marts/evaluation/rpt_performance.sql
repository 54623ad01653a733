with

final as (

    select
        model,
        metric,
        reason,
        cast(metric_value as double) as metric_value,
        cast(interval_low as double) as interval_low,
        cast(interval_high as double) as interval_high,
        cast(gain_of_bcrs as double) as gain_of_bcrs,
        cast(gain_low as double) as gain_low,
        cast(gain_high as double) as gain_high
    from {{ source('evaluation', 'performance') }}

)

select * from final
