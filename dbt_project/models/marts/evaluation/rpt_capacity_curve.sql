with

final as (

    select
        model,
        reason,
        cast(capacity_ratio as double) as capacity_ratio,
        cast(alerts_per_week as double) as alerts_per_week,
        cast(recall_ratio as double) as recall_ratio,
        cast(interval_low as double) as interval_low,
        cast(interval_high as double) as interval_high,
        cast(precision_ratio as double) as precision_ratio
    from {{ source('evaluation', 'capacity_curve') }}

)

select * from final
